#!/bin/sh
# Builds fuzz targets with coverage on a stable toolchain: all of them, or those named.
# The programs are then in fuzz/target/x86_64-unknown-linux-gnu/release (or what TARGET says).
set -eu
cd "$(dirname "$0")"
target=${TARGET:-$(rustc -vV | sed -n 's/^host: //p')}
for name in "$@"; do set -- "$@" --bin "$name"; shift; done
# With --target the flags do not reach build scripts and macros. They are what cargo fuzz passes, in the form that
# needs no nightly compiler.
RUSTFLAGS="--cfg fuzzing -Ccodegen-units=1 -Cpasses=sancov-module \
-Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
-Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares" \
    exec cargo build --release --target "$target" "${@:---bins}"
