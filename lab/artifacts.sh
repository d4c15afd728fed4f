# shellcheck shell=bash
# What the lab is made of, in its cache. Each artifact is a folder whose name ends in a digest of its
# recipe, so that checkouts with different recipes do not disturb each other; it is made in a temporary
# folder and renamed into place, so it is either whole or absent.

# shellcheck source=lab/packages.sh
. "$LAB_SOURCE/packages.sh"

# label  suite     metapackage of the kernel
readonly GUEST_KERNELS='
5.10     bullseye  linux-image-cloud-amd64
6.1      bookworm  linux-image-cloud-amd64
6.12     trixie    linux-image-cloud-amd64
7.2      forky     linux-image-cloud-amd64
'
# The same with drivers of real hardware (USB): larger, and made only when they are named.
readonly GENERIC_KERNELS='
5.10-generic  bullseye  linux-image-amd64
6.1-generic   bookworm  linux-image-amd64
6.12-generic  trixie    linux-image-amd64
7.2-generic   forky     linux-image-amd64
'
# The kernel of the box: generic, because the cloud kernels have neither 9p nor AMD-V.
readonly BOX_KERNEL_SUITE=bookworm BOX_KERNEL_PACKAGE=linux-image-amd64

# Modules that the initramfs loads, in this order, each after what it depends on. What a kernel has built in
# (or has not at all) is left out.
readonly GUEST_MODULES='virtio_pci virtio_mmio virtio_blk ext4 virtio_net virtio_rng af_packet'
# Further modules of the guests, on a disk of their own, which lab/host attaches: a guest gets them by name
# (modprobe), or its kernel by itself, as on an installed system. What a kernel has not as a module is left out.
readonly GUEST_DISK_MODULES='
overlay btrfs xfs squashfs isofs udf vfat nls_cp437 nls_ascii nls_iso8859-1 nls_utf8 erofs fuse 9p 9pnet_virtio autofs4
loop brd nbd zram dm_mod dm_crypt dm_snapshot md_mod raid1 virtio_blk virtio_scsi sd_mod sr_mod ext4 crc32c_generic
vsock vsock_loopback vmw_vsock_virtio_transport dummy veth bridge tun tls sctp af_key can can_raw vcan binfmt_misc
nf_tables nf_nat nft_chain_nat nft_nat
unix_diag inet_diag tcp_diag udp_diag packet_diag xhci_pci usb_storage kvm-amd kvm-intel
'
readonly BOX_MODULES='virtio_pci virtio_blk ext4 9pnet_virtio 9p virtio_console kvm-amd overlay'

# Where QEMU >= 10 comes from: release of this machine, the suites that apt has to see, the one to take it from.
# (Older ones ignore a nested guest's hardware breakpoints.)
readonly QEMU_SOURCES='
bookworm  bookworm,bookworm-updates,bookworm-security,bookworm-backports  bookworm-backports
trixie    trixie,trixie-updates,trixie-security                           trixie
forky     forky                                                          forky
'

# A guest's root of a whole Debian: the release, and what is installed beside its essential packages.
readonly DEBIAN_SUITE=bookworm
readonly DEBIAN_PACKAGES='
apache2-utils attr bubblewrap btrfs-progs busybox-static bzip2 curl e2fsprogs gcc git libc6-dev mount netcat-openbsd nginx-light
openssh-client openssh-server perl procps python3 rsync socat sqlite3 stress-ng systemd unzip util-linux vim-tiny xfsprogs xz-utils zip zstd
'

# A KVM host of a whole Debian, with systemd and libvirt: the release, and what is installed beside its essential packages
# (the last lines: what nijimi's own package needs).
readonly SERVER_PACKAGES='
apparmor busybox-static curl dbus iproute2 jq kmod libvirt-clients libvirt-daemon-system mount polkitd procps qemu-system-x86 socat systemd
systemd-sysv udev
libbpf1 libcurl3-gnutls libelf1 libjson-c5 libmicrohttpd12 libsqlite3-0 libsystemd0 libxxhash0 libyaml-0-2 libzycore1.4 libzydis4.0 zlib1g
'

# kernel_labels: one a line.
kernel_labels()
{
	awk 'NF { print $1 }' <<< "$GUEST_KERNELS"
}

# kernel_labels_all: with those that are made only when they are named.
kernel_labels_all()
{
	awk 'NF { print $1 }' <<< "$GUEST_KERNELS$GENERIC_KERNELS"
}

artifact_names()
{
	printf '%s\n' qemu box image filesystems
	kernel_labels | sed 's/^/kernel-/'
}

# artifact_names_all: also those that are made only when they are asked for.
artifact_names_all()
{
	printf '%s\n' qemu box image filesystems debian server
	kernel_labels_all | sed 's/^/kernel-/'
	kernel_labels | sed 's/^/headers-/'
}

# recipe NAME: everything that decides what the artifact becomes, except the packages' versions.
recipe()
{
	case $1 in
	qemu) release_name; echo "$QEMU_SOURCES"; declare -f make_qemu choose_closure ;;
	box)
		echo "$BOX_KERNEL_SUITE $BOX_KERNEL_PACKAGE $BOX_MODULES"
		declare -f choose_kernel make_box xz_offset make_initramfs add_modules add_busybox
		cat "$LAB_SOURCE/box-initramfs" ;;
	image)
		declare -f make_image image_files add_busybox
		cat "$LAB_SOURCE/guest-init" "$LAB_SOURCE/guest-call" ;;
	filesystems) declare -f make_filesystems ;;
	debian)
		echo "$DEBIAN_SUITE $DEBIAN_PACKAGES"
		declare -f make_debian make_system system_options
		cat "$LAB_SOURCE/guest-init" "$LAB_SOURCE/guest-call" "$LAB_SOURCE/debian-hook" "$LAB_SOURCE/system-disk" ;;
	server)
		echo "$DEBIAN_SUITE $SERVER_PACKAGES"
		declare -f make_server make_system system_options
		cat "$LAB_SOURCE/box-command" "$LAB_SOURCE/server-hook" "$LAB_SOURCE/system-disk" ;;
	kernel-*)
		grep "^${1#kernel-} " <<< "$GUEST_KERNELS$GENERIC_KERNELS"; echo "$GUEST_MODULES $GUEST_DISK_MODULES"
		declare -f choose_kernel make_kernel make_initramfs add_modules add_busybox make_modules_disk
		cat "$LAB_SOURCE/guest-initramfs" "$LAB_SOURCE/guest-init" "$LAB_SOURCE/guest-call" ;;
	headers-*)
		# Those of one kernel, which is known by the name of its own folder.
		artifact_path "kernel-${1#headers-}"
		declare -f make_headers choose_headers with_own_libraries ;;
	esac
}

# artifact_path NAME: where the artifact is, or will be. Inside the box the answer comes with the environment.
artifact_path()
{
	local variable=NIJIMI_LAB_${1//[^a-z0-9]/_} digest

	variable=${variable^^}
	if [[ -n ${!variable:-} ]]; then
		echo "${!variable}"
	else
		digest=$(recipe "$1" | sha256sum)
		echo "$LAB_CACHE/$1-${digest:0:12}"
	fi
}

# artifacts_export: tells everything that is started from here where the artifacts are.
artifacts_export()
{
	local name variable path

	for name in $(artifact_names_all); do
		variable=NIJIMI_LAB_${name//[^a-z0-9]/_}
		path=$(artifact_path "$name")
		export "${variable^^}=$path"
	done
	export NIJIMI_LAB_QEMU_BINARY=$NIJIMI_LAB_QEMU/usr/bin/qemu-system-x86_64
	NIJIMI_LAB_QEMU_LIBRARIES=$(qemu_libraries "$NIJIMI_LAB_QEMU")
	export NIJIMI_LAB_QEMU_LIBRARIES
}

# artifacts_ensure NAME...: makes what is missing. One maker at a time; the others wait for it.
artifacts_ensure()
{
	local name path

	for name; do
		path=$(artifact_path "$name")
		[[ ! -d $path ]] || continue
		mkdir -p "$LAB_CACHE"
		exec {MAKE_LOCK}> "$NIJIMI_CACHE/make.lock"
		flock -n "$MAKE_LOCK" || { say "waiting for another run that makes the lab"; flock "$MAKE_LOCK"; }
		[[ -d $path ]] || artifact_make "$name" "$path"
		exec {MAKE_LOCK}>&-
	done
}

# artifact_make NAME PATH
artifact_make()
{
	local name=$1 path=$2 work started=$SECONDS

	say "making $name (once)"
	rm -rf "$LAB_CACHE/making".*
	work=$(mktemp -d "$LAB_CACHE/making.XXXXXX")
	on_exit "rm -rf '$work'"
	mkdir "$work/result"
	case $name in
	kernel-*) make_kernel "${name#kernel-}" "$work" ;;
	headers-*) make_headers "${name#headers-}" "$work" ;;
	*) "make_$name" "$work" ;;
	esac
	chmod -R go-w "$work/result"
	mv -T "$work/result" "$path"
	rm -rf "$work"
	say "$name is ready ($((SECONDS - started)) s)"
}

# artifacts_lock_use: as long as this shell lives nobody cleans the cache.
artifacts_lock_use()
{
	mkdir -p "$NIJIMI_CACHE"
	exec {USE_LOCK}> "$NIJIMI_CACHE/use.lock"
	flock -s -n "$USE_LOCK" || die "$EXIT_SETUP" "the lab is being cleaned"
}

artifacts_clean()
{
	mkdir -p "$NIJIMI_CACHE"
	exec {USE_LOCK}> "$NIJIMI_CACHE/use.lock"
	flock -n "$USE_LOCK" || die "$EXIT_SETUP" "the lab is in use by another run"
	rm -rf "$LAB_CACHE"
	say "removed $LAB_CACHE"
}

# The makers: each gets a work folder and leaves its artifact in its `result`.

make_qemu()
{
	local work=$1 release suites from

	release=$(release_name)
	read -r _ suites from < <(grep "^$release " <<< "$QEMU_SOURCES") ||
		die "$EXIT_SETUP" "the lab knows where QEMU comes from on Debian 12 and 13, not on $release"
	packages_fetch qemu "qemu-$release" "${suites//,/ }" choose_closure qemu-system-x86 "$from"
	packages_unpack "$work/result"
	# Beside its binary QEMU looks for a folder of this name, and finds firmware and modules below it.
	ln -s ../.. "$work/result/usr/bin/qemu-bundle"
	qemu_run "$work/result" --version | head -n 1 > "$work/result/version"
	grep -q 'version [1-9][0-9]' "$work/result/version" ||
		die "$EXIT_SETUP" "QEMU >= 10 is needed, and $from has: $(cat "$work/result/version")"
}

# qemu_run ARTIFACT ARGUMENT...
qemu_run()
{
	env LD_LIBRARY_PATH="$(qemu_libraries "$1")" "$1/usr/bin/qemu-system-x86_64" "${@:2}"
}

# qemu_libraries ARTIFACT: the value of LD_LIBRARY_PATH to run it with.
qemu_libraries()
{
	echo "$1/usr/lib/x86_64-linux-gnu:$1/lib/x86_64-linux-gnu"
}

make_kernel()
{
	local label=$1 work=$2 suite package

	read -r _ suite package < <(grep "^$label " <<< "$GUEST_KERNELS$GENERIC_KERNELS")
	packages_fetch "kernel-$label" "$suite" "$suite" choose_kernel "$package"
	packages_unpack "$work/unpacked"
	add_busybox "$work"
	install -m 755 "$LAB_SOURCE/guest-initramfs" "$work/root/init"
	install -m 755 "$LAB_SOURCE/guest-init" "$work/root/sbin/init"
	install -m 755 "$LAB_SOURCE/guest-call" "$work/root/sbin/call"
	make_initramfs "$work" "$GUEST_MODULES"
	make_modules_disk "$work" "$GUEST_DISK_MODULES"
}

# What modules for a guest's kernel are built with (lab/module). The tools that come with it are of the kernel's release, and
# run with that release's libraries.
make_headers()
{
	local label=$1 work=$2 suite version

	artifact_is_there "kernel-$label"
	version=$(cat "$(artifact_path "kernel-$label")/version")
	read -r _ suite _ < <(grep "^$label " <<< "$GUEST_KERNELS")
	packages_fetch "headers-$label-$version" "$suite" "$suite" choose_headers "$version"
	packages_unpack "$work/unpacked"
	mkdir -p "$work/result/lib"
	mv "$work"/unpacked/usr/{src,lib} "$work/result"
	[[ ! -d $work/unpacked/lib ]] || cp -a "$work/unpacked/lib" "$work/result/libc"
	echo "$version" > "$work/result/version"
	with_own_libraries "$work/result"
}

# artifact_is_there NAME: while another is made, which needs it.
artifact_is_there()
{
	[[ -d $(artifact_path "$1") ]] || die "$EXIT_SETUP" "$1 has to be made first: lab/artifacts $1"
}

# choose_headers VIEW VERSION: the headers, and of what their tools need only the libraries.
choose_headers()
{
	simulate_install "$1" "linux-headers-$2" |
		grep -E '^(linux-headers-.*|linux-kbuild-.*|libc6|libgcc-s1|libelf1(t64)?|zlib1g|libzstd1|libssl[0-9.]*(t64)?|libbz2-1.0|liblzma5)='
}

# with_own_libraries DIRECTORY: its tools find them, wherever the folder will be.
with_own_libraries()
{
	local tool up libraries=(lib/x86_64-linux-gnu libc/x86_64-linux-gnu)

	find "$1"/lib/linux-kbuild* -type f -perm -100 | while read -r tool; do
		[[ $(head -c 4 "$tool" | tr -d '\0') == $'\x7fELF' ]] || continue
		mv "$tool" "$tool.elf"
		up=$(realpath --relative-to "${tool%/*}" "$1")
		cat > "$tool" <<- END
			#!/bin/sh
			here=\$(dirname "\$(realpath "\$0")")
			top=\$here/$up
			for loader in "\$top/${libraries[0]}" "\$top/${libraries[1]}"; do
				loader=\$loader/ld-linux-x86-64.so.2
				[ ! -e "\$loader" ] || break
			done
			exec "\$loader" --library-path "\$top/${libraries[0]}:\$top/${libraries[1]}" --argv0 "\$0" "\$here/${tool##*/}.elf" "\$@"
		END
		chmod 755 "$tool"
	done
}

make_box()
{
	local work=$1

	packages_fetch kernel-box "$BOX_KERNEL_SUITE" "$BOX_KERNEL_SUITE" choose_kernel "$BOX_KERNEL_PACKAGE"
	packages_unpack "$work/unpacked"
	add_busybox "$work"
	install -m 755 "$LAB_SOURCE/box-initramfs" "$work/root/init"
	make_initramfs "$work" "$BOX_MODULES"
	# Without the step that decompresses it the kernel starts four seconds earlier.
	tail -c "+$(xz_offset "$work/result/kernel")" "$work/result/kernel" > "$work/vmlinux.xz"
	xz -dc --single-stream "$work/vmlinux.xz" > "$work/vmlinux" 2>/dev/null || true
	readelf -h "$work/vmlinux" > /dev/null || die "$EXIT_SETUP" "the box's kernel is not packed with xz any more"
	mv "$work/vmlinux" "$work/result/kernel"
}

# xz_offset FILE: where in it the first xz stream begins, counted from 1.
xz_offset()
{
	local offsets

	offsets=$(LC_ALL=C grep -obUaFm 1 $'\xfd7zXZ' "$1" | LC_ALL=C cut -d: -f1)
	echo "$((${offsets%%$'\n'*} + 1))"
}

# make_initramfs WORK MODULES: WORK/root and the modules of the kernel in WORK/unpacked -> kernel, initramfs.
# It is not compressed: what a guest has to unpack costs time at every boot.
make_initramfs()
{
	local work=$1 tree=$1/unpacked

	# Packages of newer releases have the modules below usr, and the kernel with them.
	[[ -d $tree/lib/modules ]] || tree=$tree/usr
	ls "$tree/lib/modules" > "$work/result/version"
	find "$work/unpacked" -name 'vmlinuz*' -type f -exec cp {} "$work/result/kernel" \;
	add_modules "$work" "$tree" "$(cat "$work/result/version")" "$2"
	(cd "$work/root" && find . | LC_ALL=C sort | cpio --quiet -o -H newc -R 0:0 --reproducible) \
		> "$work/result/initramfs"
}

# add_modules WORK TREE VERSION MODULES: copies them, and what they depend on, decompressed, to WORK/root/modules;
# WORK/root/modules/order lists them in the order of loading.
add_modules()
{
	local work=$1 tree=$2 version=$3 module path

	depmod -b "$tree" "$version"
	mkdir -p "$work/root/modules"
	for module in $4; do
		modprobe -d "$tree" -S "$version" --show-depends "$module" 2>/dev/null || true
	done | awk '$1 == "insmod" && !seen[$2]++ { print $2 }' > "$work/modules"
	while read -r path; do
		module=$(basename "$path")
		module=${module%.[xz]*}
		unpacked "$path" > "$work/root/modules/$module"
		echo "$module" >> "$work/root/modules/order"
	done < "$work/modules"
}

# make_modules_disk WORK MODULES: those of the kernel in WORK/unpacked -> modules, a read-only file system to be
# mounted on /lib/modules. They are not compressed: busybox knows only names that end in .ko.
make_modules_disk()
{
	local work=$1 tree=$1/unpacked root=$1/modules-root version path

	[[ -d $tree/lib/modules ]] || tree=$tree/usr
	version=$(cat "$work/result/version")
	for module in $2; do
		modprobe -d "$tree" -S "$version" --show-depends "$module" 2>/dev/null || true
	done | awk '$1 == "insmod" && !seen[$2]++ { print $2 }' > "$work/disk-modules"
	while read -r path; do
		module=${path#*/lib/modules/"$version"/}
		module=$root/lib/modules/$version/${module%.[xz]*}
		mkdir -p "${module%/*}"
		unpacked "$path" > "$module"
	done < "$work/disk-modules"
	cp "$tree/lib/modules/$version"/modules.{builtin,order} "$root/lib/modules/$version"
	cp "$tree/lib/modules/$version/modules.builtin.modinfo" "$root/lib/modules/$version" 2>/dev/null || true
	depmod -b "$root" "$version"
	rm -f "$root/lib/modules/$version"/*.bin
	truncate -s 64M "$work/result/modules"
	mke2fs -q -t ext4 -O ^has_journal -m 0 -E root_owner=0:0 -d "$root/lib/modules" "$work/result/modules"
}

# unpacked FILE: its content, decompressed where the name says so.
unpacked()
{
	case $1 in
	*.xz) xz -dc "$1" ;;
	*.zst) zstd -qdc "$1" ;;
	*) cat "$1" ;;
	esac
}

# add_busybox WORK: a small system of one static program in WORK/root.
add_busybox()
{
	local work=$1 root=$1/root applet

	packages_fetch busybox bookworm bookworm choose_package busybox-static
	packages_unpack "$work/busybox"
	mkdir -p "$root"/{bin,sbin,dev,proc,sys,tmp,run,mnt,root,etc,var/{log,tmp},usr/{bin,sbin}}
	cp "$work"/busybox/bin/busybox "$root/bin/busybox"
	while read -r applet; do
		[[ -e $root/$applet ]] || ln -s /bin/busybox "$root/$applet"
	done < <("$root/bin/busybox" --list-full | sed 's/^linuxrc$/sbin\/linuxrc/')
	rm -f "$root/sbin/init"
}

# The guest's root disk. Its inode numbers are the same in every VM, which is the point: only the
# VM tells equal-looking objects apart.
make_image()
{
	local work=$1 root=$1/root

	add_busybox "$work"
	install -m 755 "$LAB_SOURCE/guest-init" "$root/sbin/init"
	install -m 755 "$LAB_SOURCE/guest-call" "$root/sbin/call"
	image_files "$root"
	find "$root" -exec touch -h -d @1700000000 {} +
	truncate -s 256M "$work/result/disk"
	E2FSPROGS_FAKE_TIME=1700000000 mke2fs -q -t ext4 -O ^metadata_csum_seed,^orphan_file -N 16384 \
		-U 6e696a69-6d69-4d00-8a5c-0123456789ab -E hash_seed=6e696a69-6d69-4d01-8a5c-0123456789ab,root_owner=0:0 \
		-d "$root" "$work/result/disk"
	# mke2fs keeps the owner of the files it copies; in the guest all belongs to root.
	if ((EUID != 0)); then
		(cd "$root" && find . -mindepth 1 -printf 'sif "%P" uid 0\nsif "%P" gid 0\n') |
			debugfs -w -f - "$work/result/disk" > /dev/null 2>&1
	fi
}

# Empty file systems, which the guests have no programs to make. Sparse.
make_filesystems()
{
	local result=$1/result

	truncate -s 128M "$result/btrfs"
	mkfs.btrfs -q "$result/btrfs"
	truncate -s 320M "$result/xfs"
	mkfs.xfs -q "$result/xfs"
	fallocate -d "$result/xfs"
	truncate -s 4M "$result/ext4"
	mke2fs -q -t ext4 -O ^has_journal "$result/ext4"
}

image_files()
{
	local root=$1

	mkdir -p "$root"/{payload,classified,public,home/user,lib/modules}
	chmod 1777 "$root/tmp" "$root/var/tmp"
	printf 'root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000:user:/home/user:/bin/sh\n' > "$root/etc/passwd"
	printf 'root:x:0:\nuser:x:1000:\n' > "$root/etc/group"
	printf '127.0.0.1 localhost guest\n::1 localhost\n' > "$root/etc/hosts"
	printf 'guest\n' > "$root/etc/hostname"
	printf 'Plans for the new engine. Not for outsiders.\n' > "$root/classified/secret"
	printf 'Customer list. Not for outsiders.\n' > "$root/classified/customers"
	printf 'The canteen opens at noon.\n' > "$root/public/notice"
}

# A whole Debian, on a disk like that of make_image.
make_debian()
{
	make_system "$1" debian "$DEBIAN_PACKAGES"
}

# A whole Debian as a KVM host: lab/box --server boots it.
make_server()
{
	make_system "$1" server "$SERVER_PACKAGES"
}

# make_system WORK NAME PACKAGES: a disk with them and what lab/NAME-hook adds.
make_system()
{
	local work=$1 name=$2 packages=$3 options=()

	((EUID == 0)) || die "$EXIT_SETUP" "a whole Debian is made by root only: sudo lab/artifacts $name"
	view_prepare "debian-$DEBIAN_SUITE" "$DEBIAN_SUITE"
	mapfile -t options < <(system_options "$work" "$name" "$packages")
	say "installing Debian $DEBIAN_SUITE with $(wc -w <<< "$packages") packages; this takes a minute or two"
	DISK=$work/result/disk LAB_SOURCE=$LAB_SOURCE mmdebstrap "${options[@]}" "$DEBIAN_SUITE" /dev/null \
		"$APT_CACHE/debian-$DEBIAN_SUITE/sources.list" > "$work/log" 2>&1 || {
		tail -n 15 "$work/log" >&2
		die "$EXIT_SETUP" "mmdebstrap failed"
	}
}

# system_options WORK NAME PACKAGES: mmdebstrap's, one a line. The mirror is reached as by the lab's own apt.
system_options()
{
	local excluded

	grep '^Acquire::' "$APT_CACHE/debian-$DEBIAN_SUITE/apt.conf" > "$1/apt.conf"
	printf '%s\n' --mode=root --variant=essential --format=null "--aptopt=$1/apt.conf"
	# shellcheck disable=SC2086 # a list of packages
	printf -- '--include=%s\n' $3
	for excluded in man doc info locale i18n zoneinfo; do
		printf -- '--dpkgopt=path-exclude=/usr/share/%s/*\n' "$excluded"
	done
	# shellcheck disable=SC2016 # the hook's own
	printf -- '--customize-hook=%s/%s-hook "$1"\n' "$LAB_SOURCE" "$2"
	# shellcheck disable=SC2016
	printf -- '--customize-hook=%s/system-disk "$1" "$DISK"\n' "$LAB_SOURCE"
}
