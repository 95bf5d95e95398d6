#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# in_boot.sh: what boot.sh's guest does: the units as systemd runs them, who is let in, what the restrictions
# leave, and the packages taken away under a running daemon. Lines as those of in_root.sh.
# shellcheck disable=SC2317  # called by check
set -uo pipefail

exec >/share/lines 2>/share/check-deb-guest.log
cd /packages || exit
ours="vramd vram-tools libvram0 libvram-dev vram-dkms"

check()
{
	local name=$1 status=0
	shift
	"$@" >/tmp/output 2>&1 || status=$?
	{
		echo "== $name ($status)"
		cat /tmp/output
	} >&2
	case $status in
	0) echo "PASS  boot: $name" ;;
	77) echo "SKIP  boot: $name: $(tail -n 1 /tmp/output)" ;;
	*)
		echo "FAIL  boot: $name"
		tail -n 15 /tmp/output | sed 's/^/        /'
		;;
	esac
}

# until_true SECONDS COMMAND...: the guest is slow, and nobody is at fault.
until_true()
{
	local n=$(($1 * 5))
	shift
	while [ $n -gt 0 ]; do
		"$@" && return
		sleep 0.2
		n=$((n - 1))
	done
	return 1
}

property()
{
	systemctl show -P "$1" vramd.service
}

pid()
{
	property MainPID
}

active()
{
	systemctl -q is-active vramd.service
}

as()
{
	local user=$1
	shift
	runuser -u "$user" -- "$@"
}

# entries EVENT: what the journal has of it, by its id.
entries()
{
	local id
	id=$(sed -n "/^-- /{h;n;/$1/{x;s/-- //p}}" /usr/lib/systemd/catalog/vram.catalog)
	journalctl -q -u vramd -o json "MESSAGE_ID=${id:?no message about $1}"
}

started()
{
	systemctl --no-pager --failed
	systemctl --no-pager status vramd.service vramd.socket
	active && systemctl -q is-active vramd.socket && property StatusText | grep 'listening on /run/vramd/vramd.sock' &&
		[ -z "$(systemctl --failed --plain --no-legend)" ]
}

# Of what it would have said had a restriction been in its way.
no_complaint()
{
	journalctl -q -u vramd -p warning --no-pager | tee /tmp/complaints
	[ ! -s /tmp/complaints ]
}

module()
{
	lsmod | grep '^vram ' && stat -c '%a %U %G' /dev/vram | tee /dev/stderr | grep -q '^6[67]0 root vram$' &&
		udevadm info /dev/vram | grep 'TAGS=.*:uaccess:' && vramctl status | grep 'arbiter: /dev/vram'
}

member()
{
	as member vramctl status && as member ./client ~member/model.safetensors
}

# Its model lies where the daemon has a mount of its own.
in_tmp()
{
	install -o member ~member/model.safetensors /tmp/model.safetensors && as member ./client /tmp/model.safetensors
}

stranger()
{
	local said
	! said=$(as stranger vramctl status 2>&1) && grep 'adduser NAME vram' <<<"$said" &&
		! as stranger test -r /dev/vram &&
		until_true 30 grep_entries "has let a program not in" "\"VRAM_UID\":\"$(id -u stranger)\""
}

sitter()
{
	until_true 60 loginctl show-user sitter -P Sessions || return
	loginctl --no-pager list-sessions
	loginctl show-session "$(loginctl show-user sitter -P Sessions)" -p Seat -p Active -p State
	getfacl -p /dev/vram 2>/dev/null
	id sitter | grep -q vram && return 1
	until_true 30 as sitter test -w /dev/vram && as sitter vramctl status && as sitter ./client
}

restricted()
{
	local status
	status=/proc/$(pid)/status
	grep -E 'Cap|NoNewPrivs|Seccomp|Threads' "$status"
	cat "/proc/$(pid)/oom_score_adj"
	ps -o ni= -p "$(pid)" 2>/dev/null
	# CAP_DAC_READ_SEARCH and CAP_KILL, and none can be had again.
	grep -q '^CapEff:\s*0000000000000024$' "$status" && grep -q '^CapBnd:\s*0000000000000000$' "$status" &&
		grep -q '^NoNewPrivs:\s*1$' "$status" && grep -q '^Seccomp:\s*2$' "$status" &&
		[ "$(cat "/proc/$(pid)/oom_score_adj")" = -500 ] &&
		! nsenter -t "$(pid)" -m touch /usr/here 2>/dev/null && ! nsenter -t "$(pid)" -m touch ~root/here 2>/dev/null
}

activation()
{
	local before
	before=$(pid)
	systemctl stop vramd.service && ! active && systemctl -q is-active vramd.socket && test -S /run/vramd/vramd.sock ||
		return
	as member ./client && active && [ "$(pid)" != "$before" ]
}

saved()
{
	vramctl limit set --save user:member vram.max=9M && grep 9M /etc/vramd/limits.d/90-vramctl.conf
}

reloaded()
{
	local before
	before=$(pid)
	echo -e '[user:member]\nvram.max = 7M' >/etc/vramd/limits.d/95-more.conf
	systemctl reload vramd && until_true 30 grep_entries "read its configuration" . && [ "$(pid)" = "$before" ] || return
	vramctl limit show user:member | tee /dev/stderr | grep -q 7M || return
	# A mistake: told with its line, everything stays.
	echo 'vram.max = 9Q' >>/etc/vramd/limits.d/95-more.conf
	systemctl reload vramd
	until_true 30 grep_entries "not taken the new" '95-more.conf:3' && active && [ "$(pid)" = "$before" ] &&
		vramctl limit show user:member | grep -q 7M && ! vramctl reload
	rm /etc/vramd/limits.d/95-more.conf
	systemctl reload vramd
}

grep_entries()
{
	entries "$1" | tee /dev/stderr | grep -q -- "$2"
}

metrics()
{
	vramd --help | grep -q metrics_listen || {
		echo "this vramd has no metrics"
		return 77
	}
	sed -i 's/^\[daemon\]$/&\nmetrics_listen = 127.0.0.1:9400/' /etc/vramd/vramd.conf
	systemctl restart vramd && exec 5<>/dev/tcp/127.0.0.1/9400 &&
		printf 'GET /metrics HTTP/1.0\r\n\r\n' >&5 && cat <&5 >/tmp/metrics
	exec 5>&-
	grep -m 3 '^vram_' /tmp/metrics
}

# The unit may not write there: it says so, and what to do; and that does it.
swap_elsewhere()
{
	cp /etc/vramd/vramd.conf /tmp/vramd.conf
	printf '[swap]\npath = /srv/vram\nsize = 16M\n' >>/etc/vramd/vramd.conf
	systemctl restart vramd
	until_true 30 said 'cannot make /srv/vram: Read-only file system; .systemctl edit vramd., \[Service\], ReadWritePaths=' ||
		return
	install -d /run/systemd/system/vramd.service.d
	printf '[Service]\nReadWritePaths=/srv\n' >/run/systemd/system/vramd.service.d/swap.conf
	systemctl daemon-reload && systemctl reset-failed vramd.service vramd.socket
	systemctl restart vramd.socket vramd && active &&
		vramctl --json status | tr -d ' \n' | grep -o '"swap_size_bytes":16777216'
	local status=$?
	cp /tmp/vramd.conf /etc/vramd/vramd.conf
	rm /run/systemd/system/vramd.service.d/swap.conf
	systemctl daemon-reload && systemctl restart vramd && active && return $status
}

said()
{
	journalctl -q -u vramd --no-pager -o cat | grep -m 1 -e "$1"
}

killed()
{
	kill -KILL "$(pid)" && until_true 60 restarted 1 && as member ./client
}

restarted()
{
	[ "$(property NRestarts)" -ge "$1" ] && active
}

watchdog()
{
	local n
	n=$(property NRestarts)
	install -d /run/systemd/system/vramd.service.d
	printf '[Service]\nWatchdogSec=5\n' >/run/systemd/system/vramd.service.d/quick.conf
	systemctl daemon-reload && systemctl restart vramd || return
	# With signs of life it stays.
	sleep 8
	active && [ "$(property NRestarts)" = "$n" ] || [ "$(property NRestarts)" = 0 ] || return
	n=$(property NRestarts)
	kill -STOP "$(pid)"
	until_true 90 restarted $((n + 1)) && journalctl -q -u vramd --no-pager | grep -i 'watchdog timeout'
}

explained()
{
	journalctl -q -x -u vramd --no-pager | grep -A3 'Subject: vramd has started'
}

upgraded()
{
	local before deb debs=()
	before=$(pid)
	for deb in /packages/*.deb; do
		# Building the module again takes the guest many minutes.
		case $deb in *-dbgsym_* | */vram-dkms_*) ;; *) debs+=("$deb") ;; esac
	done
	# As the member's next command would come in the middle of it.
	apt-get -q -y --no-install-recommends -o Dpkg::Options::=--force-confold --reinstall install "${debs[@]}" &&
		active && [ "$(pid)" != "$before" ] && systemctl -q is-active vramd.socket && as member ./client
}

purged()
{
	# shellcheck disable=SC2086
	apt-get -q -y purge $ours || return
	systemctl --no-pager list-unit-files 'vramd*'
	! systemctl -q is-active vramd.service && ! systemctl -q is-active vramd.socket &&
		! systemctl cat vramd.service >/dev/null 2>&1 && [ ! -e /run/vramd ] && [ ! -e /var/lib/vramd ] &&
		[ ! -e /etc/vramd/limits.d/90-vramctl.conf ] && ! pgrep -x vramd 2>/dev/null
}

systemctl is-system-running
until_true 120 active
check "vramd and its socket are active, nothing has failed" started
check "it has met no restriction" no_complaint
check "the module is loaded, /dev/vram is the group's" module
check "capabilities, seccomp, mounts" restricted
check "a member of the group is let in" member
check "a model in /tmp, which vramd does not see" in_tmp
check "a stranger is told how to get in" stranger
check "who sits at the screen is let in" sitter
check "socket activation" activation
check "a limit is saved" saved
check "reload, and a mistake in a file" reloaded
check "metrics" metrics
check "a swap file where the unit may not write" swap_elsewhere
check "killed, it is started again" killed
check "stuck, the watchdog starts it again" watchdog
check "the journal explains its messages" explained
check "an upgrade starts the new daemon, clients wait" upgraded
check "purged while it runs" purged
journalctl -q -u vramd --no-pager >&2
echo "      the end"
sync
systemctl poweroff --force --force
