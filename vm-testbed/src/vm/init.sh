#!/bin/sh
# The first program of the guest: makes the machine usable, then does what the test bed says, one command after the other.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
/bin/busybox mount -t proc proc /proc
/bin/busybox --install -s /bin
chmod 755 / # DPDK loads no driver from below a folder that anybody may write to
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /dev/shm
mount -t tmpfs tmpfs /run
mkdir -p /dev/net /run/trunkline
ip link set lo up
for m in virtio_pci virtio_console tun e1000e vmxnet3 virtio_net; do modprobe $m; done
until [ -e /dev/vport0p1 ]; do sleep 0.05; done
exec 3<>/dev/vport0p1
# A shell for people, at machines that are made to stay.
if grep -q console-shell /proc/cmdline; then
    (while :; do PS1='\$ ' setsid -c /bin/sh -i </dev/ttyS0 >/dev/ttyS0 2>&1; sleep 1; done) &
fi
echo hello >&3
# A request: "SECONDS BYTES", then the script of so many bytes. The answer: "STATUS OUT ERR", then so many bytes of each.
# The shell by its path: by its name busybox would start its own. Where nobody is at the other end there is nothing to read,
# and the next one is waited for; a script that was cut short by that is not run.
while :; do
    while read -r seconds bytes <&3; do
        head -c "$bytes" <&3 >/run/command
        [ "$(stat -c %s /run/command)" = "$bytes" ] || continue
        timeout -s KILL "$seconds" /bin/sh /run/command </dev/null >/run/out 2>/run/err 3>&-
        status=$?
        set -- $(stat -c %s /run/out /run/err)
        echo "$status $1 $2" >&3
        cat /run/out /run/err >&3
    done
    sleep 0.2
done
