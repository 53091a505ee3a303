#!/bin/sh
# $1 is 0 where the package has gone, 1 where an upgrade has replaced it.
if [ -d /run/systemd/system ]; then
    systemctl daemon-reload || :
    if [ "$1" -ge 1 ]; then
        systemctl try-restart tocsin.service || :
    fi
fi
