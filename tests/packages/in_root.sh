#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# in_root.sh: what check_deb.sh does in the root that the packages are tried in. One line a check: PASS, FAIL or
# SKIP and its name, with the end of a failure's output below it. Everything else goes to stderr.
# shellcheck disable=SC2317,SC2086,SC2046,SC2013,SC2059  # called by check; words to be split
set -uo pipefail

cd /packages || exit 2

ours="vramd vram-tools libvram0 libvram-dev vram-dkms"
multiarch=$(gcc -print-multiarch)

check()
{
	local name=$1 status=0
	shift
	"$@" >/tmp/output 2>&1 || status=$?
	cat /tmp/output >&2
	case $status in
	0) echo "PASS  $name" ;;
	77) echo "SKIP  $name: $(tail -n 1 /tmp/output)" ;;
	*)
		echo "FAIL  $name"
		tail -n 15 /tmp/output | sed 's/^/        /'

		;;
	esac
}

# say NAME WORDS: a figure that is part of the result.
say()
{
	echo "      $*"
}

# Everything in the file system but what is mounted and what apt, dpkg and logs keep for themselves.
files()
{
	find / -xdev \( -path /proc -o -path /sys -o -path /dev -o -path /run -o -path /tmp -o -path /packages \
		-o -path /var/lib/dpkg -o -path /var/lib/apt -o -path /var/cache -o -path /var/log \) -prune \
		-o -printf '%p %y %m %l\n' | LC_ALL=C sort
}

# ---- installing -------------------------------------------------------------------

install_all()
{
	local deb debs=()
	for deb in *.deb; do
		case $deb in *-dbgsym_*) ;; *) debs+=("/packages/$deb") ;; esac
	done
	apt-get -q -y --no-install-recommends -o Dpkg::Options::=--force-confold "$@" install "${debs[@]}"
}

all_there()
{
	local package state
	for package in $ours; do
		state=$(dpkg-query -W -f '${db:Status-Abbrev}' "$package")
		[ "$state" = "ii " ] || {
			echo "$package is '$state'"
			return 1
		}
	done
	dpkg --verify $ours && getent group vram && test -d /run/vramd -a -d /etc/vramd/limits.d
}

debug_symbols()
{
	local deb file
	for deb in *-dbgsym_*.deb; do
		dpkg-deb -x "$deb" /tmp/dbgsym || return
	done
	for file in /usr/sbin/vramd "/usr/lib/$multiarch/libvram.so.0"; do
		id=$(readelf -n "$file" | sed -n 's/.*Build ID: //p')
		test -s "/tmp/dbgsym/usr/lib/debug/.build-id/${id:0:2}/${id:2}.debug" || {
			echo "no debug symbols for $file ($id)"
			return 1
		}
	done
	rm -r /tmp/dbgsym
}

# ---- using ------------------------------------------------------------------------

# Two layers of 1 MiB each.
make_model()
{
	local header='{"blk.0.w":{"dtype":"F32","shape":[262144],"data_offsets":[0,1048576]},"blk.1.w":{"dtype":"F32","shape":[262144],"data_offsets":[1048576,2097152]}}'
	local n=${#header}
	printf "\\x$(printf %02x $((n % 256)))\\x$(printf %02x $((n / 256)))\\0\\0\\0\\0\\0\\0" >"$1"
	printf %s "$header" >>"$1"
	head -c 2097152 /dev/urandom >>"$1"
}

user_vramd()
{
	useradd -m tester || return
	install -d -o tester -m 700 /tmp/xdg
	make_model /tmp/model.safetensors
	su tester -c 'XDG_RUNTIME_DIR=/tmp/xdg vramd --user --budget 64M --set device.kind=host >/tmp/xdg/log 2>&1 & echo $! >/tmp/xdg/pid'
	for _ in $(seq 200); do
		grep -q "listening on" /tmp/xdg/log && break
		sleep 0.1
	done
	cat /tmp/xdg/log
	as_tester 'vramctl status' && as_tester 'vramctl --json status' | grep -q '"budget_bytes": *67108864'
}

as_tester()
{
	su tester -c "export XDG_RUNTIME_DIR=/tmp/xdg VRAM_SOCKET=/tmp/xdg/vramd/vramd.sock; $1"
}

stop_user_vramd()
{
	kill "$(cat /tmp/xdg/pid)"
	for _ in $(seq 200); do
		kill -0 "$(cat /tmp/xdg/pid)" 2>/dev/null || break
		sleep 0.1
	done
	cat /tmp/xdg/log
	grep -q stopped /tmp/xdg/log
}

shared_library()
{
	gcc -Wall -Wextra -Werror -o /tmp/client client.c $(pkg-config --cflags --libs libvram) &&
		readelf -d /tmp/client | grep -q 'NEEDED.*libvram.so.0' && as_tester '/tmp/client /tmp/model.safetensors'
}

static_library()
{
	local libs
	libs=$(pkg-config --static --libs libvram)
	gcc -Wall -o /tmp/static client.c ${libs/-lvram/-l:libvram.a} &&
		! readelf -d /tmp/static | grep -q libvram.so && as_tester '/tmp/static /tmp/model.safetensors'
}

kernel_header()
{
	printf '#include <linux/vram.h>\nint main(void) { return 0; }\n' | gcc -Wall -Wextra -Werror -x c -o /dev/null -
}

unmodified_program()
{
	local plain under
	gcc -O2 -o /tmp/mapper mapper.c || return
	plain=$(/tmp/mapper /tmp/model.safetensors)
	under=$(as_tester 'vramrun /tmp/mapper /tmp/model.safetensors')
	echo "$plain, under vramrun $under"
	[ -n "$plain" ] && [ "$plain" = "$under" ] && as_tester 'vramctl --json status' | tr -d ' \n' |
		grep -Eq '"paged_in_bytes":[1-9]'
}

# A daemon with root's rights, as far as a root without systemd has them: it saves a limit.
system_vramd()
{
	local pid status=1
	vramd --budget 64M --set device.kind=host --set arbiter.use=local >/tmp/system.log 2>&1 &
	pid=$!
	for _ in $(seq 200); do
		grep -q "listening on" /tmp/system.log && break
		sleep 0.1
	done
	vramctl limit set --save user:tester vram.max=8M && vramctl limit show user:tester &&
		grep -q '8M' /etc/vramd/limits.d/90-vramctl.conf && vramctl reload && status=0
	kill $pid
	wait $pid || status=1
	cat /tmp/system.log
	return $status
}

manual_pages()
{
	local page said bad=0 n=0
	for page in $(dpkg -L $ours | grep '/man/.*gz$'); do
		n=$((n + 1))
		said=$(LC_ALL=C.UTF-8 MANROFFSEQ='' MANWIDTH=80 man --warnings -E UTF-8 -l -Tutf8 -Z "$page" 2>&1 >/dev/null)
		[ -z "$said" ] || {
			echo "$page: $said"
			bad=1
		}
	done
	echo "$n pages"
	[ $bad = 0 ] && [ $n -gt 10 ]
}

programs()
{
	dpkg -L $ours | grep -E '^/usr/s?bin/.'
}

# Every program has its page.
programs_have_pages()
{
	local program
	[ -n "$(programs)" ] || return
	for program in $(programs); do
		compgen -G "/usr/share/man/man[18]/${program##*/}.[18].gz" >/dev/null || {
			echo "no manual page of $program"
			return 1
		}
	done
}

completion()
{
	local program
	[ -n "$(programs)" ] || return
	for program in $(programs); do
		bash --norc -c ". /usr/share/bash-completion/bash_completion
			_completion_loader ${program##*/}
			set -- \$(complete -p ${program##*/})
			[ \"\$2\" = -F ] || exit
			COMP_LINE='${program##*/} --' COMP_POINT=\${#COMP_LINE} COMP_WORDS=(${program##*/} --) COMP_CWORD=1
			\$3 ${program##*/} -- ${program##*/}
			case \" \${COMPREPLY[*]} \" in *' --help'*) ;; *) echo \"${program##*/}: \${COMPREPLY[*]}\"; exit 1 ;; esac" || {
			echo "no completion of $program"
			return 1
		}
	done
}

# ---- the module -------------------------------------------------------------------

module()
{
	local kernel ko
	kernel=$(for folder in /lib/modules/*/build; do
		[ -e "$folder/Makefile" ] && basename "$(dirname "$folder")"
	done | sort -V | tail -n 1)
	[ -n "$kernel" ] || {
		echo "no kernel headers in the root"
		return 77
	}
	version=$(dpkg-query -W -f '${Version}' vram-dkms)
	# dpkg has built it for the kernels that it has found; the machine's own is another one.
	dkms status -m vram -v "$version" | tee /dev/stderr | grep -q "$kernel.*installed" ||
		dkms install -m vram -v "$version" -k "$kernel" || return
	ko=$(find "/lib/modules/$kernel" -name 'vram.ko*')
	modinfo "$ko" && [ "$(modinfo -F version "$ko")" = "$version" ] &&
		[ "$(modinfo -F vermagic "$ko" | cut -d' ' -f1)" = "$kernel" ]
}

# ---- systemd ----------------------------------------------------------------------

units_are_right()
{
	local said
	said=$(systemd-analyze verify vramd.service vramd.socket 2>&1)
	echo "$said"
	[ -z "$said" ]
}

exposure()
{
	systemd-analyze --no-pager security --offline=yes --threshold=40 vramd.service
}

enabled()
{
	[ "$(systemctl is-enabled vramd.service)" = enabled ] && [ "$(systemctl is-enabled vramd.socket)" = enabled ]
}

catalog()
{
	local id n=0
	journalctl --update-catalog || return
	for id in $(sed -n 's/^-- //p' /usr/lib/systemd/catalog/vram.catalog); do
		journalctl --list-catalog "$id" | grep -q "^$id vramd: " || return
		n=$((n + 1))
	done
	echo "$n messages"
	[ $n -gt 10 ]
}

# ---- over itself, and away --------------------------------------------------------

over_itself()
{
	echo "# mine" >>/etc/vramd/vramd.conf
	printf '[default]\nvram.max = 50%%\n' >/etc/vramd/limits.d/10-mine.conf
	install_all --reinstall && all_but_conf && grep -q '^# mine' /etc/vramd/vramd.conf &&
		grep -q '50%' /etc/vramd/limits.d/10-mine.conf
}

all_but_conf()
{
	[ "$(dpkg --verify $ours)" = "??5?????? c /etc/vramd/vramd.conf" ]
}

removed()
{
	apt-get -q -y remove $ours || return
	test -e /etc/vramd/vramd.conf -a -e /etc/vramd/limits.d/90-vramctl.conf || {
		echo "the configuration went with the packages, not with a purge"
		return 1
	}
	! compgen -G '/usr/*bin/vram*' && ! compgen -G "/usr/lib/*/libvram*" && ! test -e /usr/src/vram-*
}

purged()
{
	# The administrator's own, which no package may take.
	test -e /etc/vramd/limits.d/10-mine.conf && rm /etc/vramd/limits.d/10-mine.conf
	apt-get -q -y purge $(dpkg-query -W -f '${db:Status-Abbrev} ${Package}\n' $ours | sed -n 's/^rc  *//p') || return
	userdel -r tester 2>/dev/null
	files >/tmp/after
	diff /tmp/before /tmp/after | grep '^[<>]' >/tmp/left
	# Written anew by tools of the distribution (depmod's lists are not there before the first module), and group vram, which like any may own files still.
	grep -vE '^[<>] (/etc/(group|gshadow|passwd|shadow|subuid|subgid)-? |/etc/ld.so.cache |/var/lib/systemd/catalog/database |/etc/\.pwd\.lock |/var/mail |/usr/lib/modules/[^/]*/modules\.)' /tmp/left |
		tee /tmp/really_left
	[ ! -s /tmp/really_left ] && ! compgen -G '/run/vramd*'
}

files >/tmp/before
check "installed: $ours" install_all
check "what is installed is what was packed" all_there
check "debug symbols belong to the programs" debug_symbols
check "vramd --user and vramctl, as an ordinary user" user_vramd
check "a program linked with pkg-config" shared_library
check "a program linked with libvram.a" static_library
check "linux/vram.h compiles by itself" kernel_header
check "an unmodified program under vramrun" unmodified_program
check "vramd --user stops" stop_user_vramd
check "root's vramd saves a limit and reads it again" system_vramd
check "manual pages have no warnings" manual_pages
check "every program has a manual page" programs_have_pages
check "every program is completed" completion
check "dkms builds and installs the module" module
check "systemd-analyze verify" units_are_right
check "systemd-analyze security" exposure
say "$(grep -a -o 'Overall exposure.*: [0-9.]* [A-Z]*' /tmp/output)"
check "the units are enabled" enabled
check "the catalog knows every message" catalog
check "installed over itself, the configuration kept" over_itself
check "removed, but for the configuration" removed
check "purged without leftovers" purged
# For the boot, everything once more.
prepare_boot()
{
	install_all || return
	useradd -m -G vram member && useradd -m stranger && useradd -m sitter || return
	make_model ~member/model.safetensors
	gcc -o /packages/client client.c $(pkg-config --cflags --libs libvram) &&
		install -m 644 /packages/in_boot.service /etc/systemd/system/ &&
		install -D -m 644 /packages/autologin.conf /etc/systemd/system/getty@tty1.service.d/autologin.conf &&
		systemctl enable in_boot.service
}

[ -z "${BOOT:-}" ] || check "installed again, to be booted" prepare_boot
exit 0
