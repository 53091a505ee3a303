#!/bin/sh
# $1 is 1 at the first installation, 2 at an upgrade; a container or chroot has no service manager to tell.
if [ -d /run/systemd/system ]; then
    systemctl daemon-reload || :
    if [ "$1" -eq 1 ]; then
        systemctl preset tocsin.service || :
        systemctl try-restart tocsin.service || :
    fi
fi
