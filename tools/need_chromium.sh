#!/usr/bin/env bash
# Installs Chromium for the one test of the live page where that can be done unasked: as root, with apt. Else the test
# skips and says so. Never fails.
for name in chromium chromium-browser google-chrome google-chrome-stable chrome; do
    command -v "$name" >/dev/null 2>&1 && exit 0
done
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    echo "installing Chromium for the test of the live page"
    { timeout 300 apt-get -qq update && timeout 600 apt-get -qq install -y --no-install-recommends chromium; } \
        >/dev/null 2>&1 || echo "that did not work: the test of the live page will be skipped"
fi
exit 0
