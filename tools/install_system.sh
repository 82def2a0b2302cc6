#!/bin/sh
# Makes sure that the Debian packages for the demo and the tests are there.
# As root it installs them; otherwise it names the missing ones in one line and fails.
set -eu
python=${1:-python3}
missing=
need() { # need COMMAND PACKAGE
    PATH="$PATH:/usr/sbin:/sbin" command -v "$1" >/dev/null 2>&1 || missing="$missing $2"
}
need avahi-daemon avahi-daemon
need avahi-browse avahi-utils
need dbus-daemon dbus-daemon
need ip iproute2
need iptables iptables
need unshare util-linux
need ping iputils-ping
need tcpdump tcpdump
need tshark tshark
need dhtnode dhtnode
need systemd-analyze systemd
need zsh zsh
need man man-db
need groff groff-base
need nft nftables
need miniupnpd miniupnpd-nftables
need chromium chromium
need kamailio kamailio
need sipp sip-tester
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || missing="$missing python3"
# The compiled part of the packet path; an installation for use does without it, its tests do not.
need cc gcc
"$python" -c 'import os, sys, sysconfig; sys.exit(not os.path.exists(sysconfig.get_path("include") + "/Python.h"))' \
    2>/dev/null || missing="$missing python3-dev libc6-dev"
"$python" -c 'import ensurepip, venv' 2>/dev/null || missing="$missing python3-venv"
[ -n "$missing" ] || exit 0
if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null 2>&1; then
    echo "missing:$missing; install with: sudo apt-get install$missing" >&2
    exit 1
fi
echo "installing Debian packages:$missing" >&2
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq >/dev/null
# shellcheck disable=SC2086 # a list of package names
apt-get install -y -qq --no-install-recommends $missing >/dev/null
