#!/usr/bin/env bash
# Succeeds when the Rust toolchain is there (with --components: rustfmt and clippy too), else says what to install.
set -euo pipefail
if ! cargo --version >/dev/null 2>&1; then
    cat >&2 <<'MSG'
qtfeat is built from Rust sources, and cargo was not found on the PATH or in ~/.cargo/bin.
  Linux, macOS:  curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh
  Windows:       winget install Rustlang.Rustup
Then open a new shell and run the command again.
MSG
    exit 1
fi
if [ "${1:-}" = --components ]; then
    cargo fmt --version >/dev/null 2>&1 && cargo clippy --version >/dev/null 2>&1 && exit 0
    echo "make lint needs rustfmt and clippy: rustup component add rustfmt clippy" >&2
    exit 1
fi
