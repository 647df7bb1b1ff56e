#!/bin/sh
# Makes perm.ext4.zst, the empty file system every image carries for /perm. Run once, with e2fsprogs 1.47 and zstd
# installed; the result is kept in the tree so that building an image needs neither and gives the same bytes.
# Why these options: facts/gokrazy2.md section 2. The journal's size can never be changed by growing, so it is
# chosen here; -e remount-ro because gokrazy mounts without options.
set -eu
out=$(dirname "$0")/perm.ext4.zst
tmp=$(mktemp)
trap 'rm -f "$tmp"' EXIT
truncate -s 256M "$tmp"
E2FSPROGS_FAKE_TIME=1795219200 mkfs.ext4 -q -b 4096 -i 16384 -m 1 -L perm -J size=64 -e remount-ro \
	-O 64bit,metadata_csum,metadata_csum_seed \
	-U 6b1d3e6c-5f0b-4b52-9d0e-7d7f6d1c4a11 -E nodiscard,hash_seed=2f6a7a52-8e0d-4f2b-a1c3-0d8b5b1f9e44 "$tmp"
e2fsck -fn "$tmp"
zstd -q -f -19 --long=27 -o "$out" "$tmp"
ls -l "$out"
