#!/bin/sh
# $1 is 0 where the package goes, 1 where an upgrade replaces it.
if [ "$1" -eq 0 ] && [ -d /run/systemd/system ]; then
    systemctl --no-reload disable --now tocsin.service || :
fi
