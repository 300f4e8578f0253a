#!/usr/bin/env bash
# Miri over the unsafe code and cargo-fuzz over the decoders, each where the toolchain has it.
# Usage: tools/miri_and_fuzz.sh SECONDS_PER_TARGET
set -euo pipefail
seconds=${1:-600}

if cargo +nightly miri --version >/dev/null 2>&1; then
    MIRIFLAGS=-Zmiri-disable-isolation cargo +nightly miri test -p qtfeat-core --lib block
else
    echo "skipped Miri: rustup +nightly component add miri rust-src"
fi

if cargo +nightly fuzz --version >/dev/null 2>&1; then
    for target in $(cargo +nightly fuzz list); do
        cargo +nightly fuzz run "$target" -- -max_total_time="$seconds"
    done
else
    echo "skipped cargo-fuzz: rustup toolchain install nightly && cargo install cargo-fuzz"
fi
