#!/bin/bash
# Installs the Debian packages that are missing, after saying which.
#
#   deps.sh [build|test|dev|all]...
#
#   build   what `make` needs
#   test    what `make check` needs besides (Go for the interop tests is not in Debian 12: see
#           tests/interop/README.md)
#   dev     what `make fuzz`, `make fmt` and `make tidy` need besides
#
# Without arguments: build and test. Nothing is asked: apt-get runs with -y, as root or through sudo.
# Exit status: 0 all is there, 1 something is missing still.
set -euo pipefail

build=(gcc libc6-dev meson ninja-build pkgconf libssl-dev libsodium-dev libjansson-dev libwslay-dev
	libc-ares-dev libcurl4-openssl-dev libcmocka-dev)
# AES-GCM at full speed; there is none for other machines, where libcrypto does it.
[ "$(dpkg --print-architecture 2>/dev/null)" != amd64 ] || build+=(libipsec-mb-dev)
test=(python3-pytest python3-nacl openssl)
dev=(clang clang-format clang-tidy libclang-rt-14-dev)

[ $# -gt 0 ] || set -- build test
wanted=()
for set in "$@"; do
	case $set in
	build) wanted+=("${build[@]}") ;;
	test) wanted+=("${test[@]}") ;;
	dev) wanted+=("${dev[@]}") ;;
	all) wanted+=("${build[@]}" "${test[@]}" "${dev[@]}") ;;
	*)
		echo "deps: there is no set \"$set\": build, test, dev or all" >&2
		exit 2
		;;
	esac
done

if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
	echo "deps: this is no Debian, so nothing is installed; what is needed is called there:" >&2
	echo "deps:   ${wanted[*]}" >&2
	exit 0
fi

# dpkg-query complains about packages that it never heard of: those are missing, too.
installed=" $(dpkg-query -W -f '${Package}:${db:Status-Status} ' "${wanted[@]}" 2>/dev/null || true)"
missing=()
for package in "${wanted[@]}"; do
	case $installed in
	*" $package:installed "*) ;;
	*) missing+=("$package") ;;
	esac
done
[ ${#missing[@]} -gt 0 ] || exit 0

# give_up WHY: what somebody else has to do then.
give_up() {
	echo "deps: $1; what it takes, as root:" >&2
	echo "deps:   apt-get update && apt-get install ${missing[*]}" >&2
	exit 1
}

echo "deps: going to install: ${missing[*]}" >&2
run=()
if [ "$(id -u)" -ne 0 ]; then
	command -v sudo >/dev/null || give_up "this is not root, and there is no sudo"
	# Without a terminal there is nobody to type a password.
	run=(sudo)
	[ -t 0 ] || run+=(-n)
	"${run[@]}" true || give_up "sudo does not let this user"
fi

# A machine that was started a moment ago updates itself, and holds apt's lock meanwhile.
install() {
	"${run[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
		-o DPkg::Lock::Timeout=300 "${missing[@]}" >&2
}
# A machine's lists may be old or, in a container, not there at all. An update fails for any one
# source that doesn't answer, which may not be the one that counts.
if ! compgen -G '/var/lib/apt/lists/*_Packages*' >/dev/null || ! install; then
	"${run[@]}" apt-get update >&2 || echo "deps: apt-get update failed; trying all the same" >&2
	install || give_up "apt-get install failed"
fi
