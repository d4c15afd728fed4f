/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <fcntl.h>
#include <linux/btrfs.h>
#include <linux/fs.h>
#include <linux/loop.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include "scenario.h"

/*
 * File systems on top of others: overlays, bind mounts, images, and the disks that they all lie on.
 */

enum { BYTES = 64, TEXT_SIZE = 300, SIZE = 4096 };

static char source[TEXT_SIZE], target[TEXT_SIZE], merged[TEXT_SIZE], upper[TEXT_SIZE], lower[TEXT_SIZE];

static const char *in(const char *directory, const char *name)
{
	static char texts[8][TEXT_SIZE];
	static unsigned next;
	char *text = texts[next++ % 8];
	snprintf(text, TEXT_SIZE, "%s/%s", directory, name);
	return text;
}

static void run(const char *command)
{
	pid_t pid = fork();
	need(pid >= 0, "fork");
	if (pid == 0) {
		execl("/bin/sh", "sh", "-c", command, NULL);
		_exit(127);
	}
	int status;
	need(waitpid(pid, &status, 0) == pid, "waitpid");
	if (status != 0)
		fault("%s: status %#x", command, status);
}

static void folder(const char *path)
{
	need(mkdir(path, 0755) == 0 || errno == EEXIST, path);
}

static void make_source(void)
{
	strcpy(source, classified("source"));
	expect_path(create(source), LIVE);
}

// Its content, and nothing else: the target is opened by whoever is played after that.
static void act_copy(void)
{
	read_file(source);
	int fd = open_or_fault(target, O_WRONLY | O_CREAT);
	write_some(fd);
	need(fsync(fd) == 0, "fsync");
	expect_self(ENDED);
}

static void act_read_managed(void)
{
	read_file(target);
	expect_self(ENDED);
}

static void act_read_clean(void)
{
	read_file(target);
}

static void act_map_managed(void)
{
	char byte;
	int fd = open_or_fault(target, O_RDONLY);
	volatile char *memory = mmap(NULL, BYTES, PROT_READ, MAP_PRIVATE, fd, 0);
	need(memory != MAP_FAILED, "mmap");
	byte = memory[0];
	need(byte == 'i', "the content");
	expect_self(ENDED);
}

static void read_as(const char *comm, const char *path, void (*act)(void))
{
	strcpy(target, path);
	play(comm, act);
}

// The device number of the file system itself. stat() gives another one for each subvolume of a btrfs.
static dev_t file_system_of(const char *path)
{
	char line[1000], directory[TEXT_SIZE];
	unsigned device_major, device_minor;
	dev_t device = 0;
	size_t longest = 0;
	FILE *mounts = fopen("/proc/self/mountinfo", "re");
	need(mounts != NULL, "mountinfo");
	while (fgets(line, sizeof(line), mounts)) {
		if (sscanf(line, "%*d %*d %u:%u %*s %299s", &device_major, &device_minor, directory) != 3)
			continue;
		size_t length = strlen(directory);
		if (length >= longest && strncmp(path, directory, length) == 0) {
			longest = length;
			device = makedev(device_major, device_minor);
		}
	}
	fclose(mounts);
	return device;
}

static struct stat status_of(const char *path)
{
	struct stat status;
	need(stat(path, &status) == 0, path);
	if (major(status.st_dev) == 0)
		status.st_dev = file_system_of(path);
	return status;
}

// The real file, under the name that it has elsewhere.
static void expect_real(const char *real, const char *name)
{
	struct stat status = status_of(real);
	expect_file_as(&status, name, LIVE);
}

// From a file to the image that it is in.
static void expect_in_image(const char *file, const char *image)
{
	struct stat from = status_of(file), to = status_of(image);
	expect_real(file, file);
	expect_real(image, image);
	expect_edge("loop", end_status(&from), end_status(&to));
}

/* Overlays */

static void make_overlay(const char *lower_directory)
{
	char options[1000];
	strcpy(lower, lower_directory);
	strcpy(upper, plain("upper"));
	strcpy(merged, plain("merged"));
	folder(lower);
	folder(upper);
	folder(merged);
	folder(plain("work"));
	create(in(lower, "clean"));
	snprintf(options, sizeof(options), "lowerdir=%s,upperdir=%s,workdir=%s", lower, upper,
		 plain("work"));
	run("modprobe overlay");
	need(mount("overlay", merged, "overlay", 0, options) == 0, "mount overlay");
}

// Classified where it lies; read through the overlay, which says nothing of it.
static void overlay_lower(void)
{
	char *outside = plain("below");
	folder(outside);
	create(in(outside, "f"));
	char *inside = classified("below");
	need(rename(outside, inside) == 0, "rename");
	folder(plain("other"));
	make_overlay(inside);
	create(in(upper, "unrelated"));
	read_as("reader", in(merged, "f"), act_read_managed);
	read_as("mapper", in(merged, "f"), act_map_managed);
	read_as("outsider", in(merged, "unrelated"), act_read_clean);
	expect_real(in(lower, "f"), in(merged, "f"));
	expect_path(in(lower, "clean"), LIVE);
}

static void make_managed_lower(void)
{
	make_source();
	folder(plain("lower"));
	strcpy(target, in(plain("lower"), "f"));
	play("copier", act_copy);
	make_overlay(plain("lower"));
	expect_real(in(lower, "f"), in(lower, "f"));
}

static void act_append(void)
{
	int fd = open_or_fault(in(merged, "f"), O_WRONLY | O_APPEND);
	write_some(fd);
}

// Opened for writing: its content is in another file then.
static void overlay_copied_up(void)
{
	make_managed_lower();
	play("writer", act_append);
	read_as("upper", in(upper, "f"), act_read_managed);
	read_as("merged", in(merged, "f"), act_read_managed);
	read_as("other", in(merged, "clean"), act_read_clean);
	expect_real(in(upper, "f"), in(merged, "f"));
}

static void act_chmod(void)
{
	need(chmod(in(merged, "f"), 0600) == 0, "chmod");
}

static void overlay_attribute(void)
{
	make_managed_lower();
	play("changer", act_chmod);
	read_as("upper", in(upper, "f"), act_read_managed);
	expect_real(in(upper, "f"), in(merged, "f"));
}

// As it may unseen with another file.
static void act_fchmod(void)
{
	int other = open_or_fault(plain("other"), O_RDWR), fd = open_or_fault(in(merged, "f"), O_RDONLY);
	for (int i = 0; i < 3; i++)
		need(fchmod(other, 0600) == 0, "fchmod");
	need(fchmod(fd, 0600) == 0, "fchmod of what lies below");
}

static void overlay_descriptor(void)
{
	make_managed_lower();
	create(plain("other"));
	play("changer", act_fchmod);
	read_as("upper", in(upper, "f"), act_read_managed);
	expect_real(in(upper, "f"), in(merged, "f"));
}

static void act_rename(void)
{
	need(rename(in(merged, "f"), in(merged, "g")) == 0, "rename");
}

static void overlay_renamed(void)
{
	make_managed_lower();
	play("renamer", act_rename);
	read_as("upper", in(upper, "g"), act_read_managed);
	expect_real(in(upper, "g"), in(merged, "g"));
}

// Written through the overlay, read past it, and the other way round.
static void overlay_written(void)
{
	make_source();
	make_overlay(plain("lower"));
	strcpy(target, in(merged, "f"));
	play("copier", act_copy);
	read_as("upper", in(upper, "f"), act_read_managed);
	read_as("mapper", in(merged, "f"), act_map_managed);
	strcpy(target, in(upper, "clean2"));
	create(target);
	read_as("outsider", in(merged, "clean2"), act_read_clean);
	expect_real(in(upper, "f"), in(merged, "f"));
}

// The file in the overlay is removed; the one below is there still.
static void overlay_unlinked(void)
{
	make_managed_lower();
	need(unlink(in(merged, "f")) == 0, "unlink");
	read_as("reader", in(lower, "f"), act_read_managed);
}

/* Bind mounts */

static void bind_mounted(void)
{
	char *outside = plain("folder"), *mounted = plain("mount");
	folder(outside);
	folder(mounted);
	create(in(outside, "f"));
	char *inside = classified("folder");
	need(rename(outside, inside) == 0, "rename");
	need(mount(inside, mounted, NULL, MS_BIND, NULL) == 0, "mount");
	folder(plain("public"));
	create(in(plain("public"), "f"));
	folder(plain("mount2"));
	need(mount(plain("public"), plain("mount2"), NULL, MS_BIND, NULL) == 0, "mount");
	read_as("reader", in(mounted, "f"), act_read_managed);
	read_as("outsider", in(plain("mount2"), "f"), act_read_clean);
	expect_real(in(inside, "f"), in(mounted, "f"));
}

// A name that is given on one mount is a name on all of them.
static void bind_linked(void)
{
	char *mounted = plain("mount"), *inside = classified("folder");
	folder(inside);
	folder(mounted);
	folder(plain("away"));
	need(mount(inside, mounted, NULL, MS_BIND, NULL) == 0, "mount");
	create(in(mounted, "hidden"));
	need(link(in(mounted, "hidden"), in(mounted, "link")) == 0, "link");
	read_as("reader", in(mounted, "link"), act_read_managed);
	expect_real(in(mounted, "link"), in(mounted, "link"));
}

/* Other ways to a file */

static int temporary;

static void act_temporary(void)
{
	char link_path[64];
	read_file(source);
	temporary = open(plain("."), O_TMPFILE | O_RDWR, 0600);
	need(temporary >= 0, "O_TMPFILE");
	write_some(temporary);
	snprintf(link_path, sizeof(link_path), "/proc/self/fd/%d", temporary);
	need(linkat(AT_FDCWD, link_path, AT_FDCWD, target, AT_SYMLINK_FOLLOW) == 0, "linkat");
	expect_self(ENDED);
	expect_real(target, target);
}

static void temporary_linked(void)
{
	make_source();
	strcpy(target, plain("linked"));
	play("writer", act_temporary);
	play("reader", act_read_managed);
}

static void act_by_handle(void)
{
	struct {
		struct file_handle head;
		unsigned char bytes[MAX_HANDLE_SZ];
	} handle = { .head.handle_bytes = MAX_HANDLE_SZ };
	int mount_id, directory = open_or_fault("/plain", O_RDONLY | O_DIRECTORY);
	need(name_to_handle_at(AT_FDCWD, target, &handle.head, &mount_id, 0) == 0,
	     "name_to_handle_at");
	int fd = open_by_handle_at(directory, &handle.head, O_RDONLY);
	need(fd >= 0, "open_by_handle_at");
	read_some(fd);
	expect_self(ENDED);
}

static void by_handle(void)
{
	make_source();
	strcpy(target, source);
	play("reader", act_by_handle);
}

static void on_tmpfs(void)
{
	make_source();
	folder(plain("memory"));
	need(mount("memory", plain("memory"), "tmpfs", 0, NULL) == 0, "mount tmpfs");
	strcpy(target, in(plain("memory"), "f"));
	play("copier", act_copy);
	play("reader", act_read_managed);
	expect_real(target, target);
	create(in(plain("memory"), "clean"));
	read_as("outsider", in(plain("memory"), "clean"), act_read_clean);
}

/* Images of file systems */

static char loop_device[64];

static void make_image(const char *path)
{
	char command[900];
	snprintf(command, sizeof(command), "dd if=/payload/ext4 of=%s bs=64k 2> /dev/null", path);
	run(command);
}

static void attach_to(const char *path, int number)
{
	snprintf(loop_device, sizeof(loop_device), "/dev/loop%d", number);
	int device = open_or_fault(loop_device, O_RDWR), image = open_or_fault(path, O_RDWR);
	need(ioctl(device, LOOP_SET_FD, image) == 0, "LOOP_SET_FD");
	close(device);
	close(image);
}

static int attach(const char *path)
{
	run("modprobe loop");
	int control = open_or_fault("/dev/loop-control", O_RDWR);
	int number = ioctl(control, LOOP_CTL_GET_FREE);
	need(number >= 0, "LOOP_CTL_GET_FREE");
	close(control);
	attach_to(path, number);
	return number;
}

static void mount_as(const char *type, const char *directory)
{
	folder(directory);
	need(mount(loop_device, directory, type, 0, NULL) == 0, "mount image");
}

static void mount_image(const char *path, const char *directory)
{
	attach(path);
	mount_as("ext4", directory);
}

// Waits until the device shows nothing: its last user may be gone a little later.
static void unmount_and_detach(const char *directory)
{
	struct loop_info64 info;
	need(umount(directory) == 0, "umount");
	int device = open_or_fault(loop_device, O_RDWR);
	need(ioctl(device, LOOP_CLR_FD) == 0, "LOOP_CLR_FD");
	close(device);
	for (int tries = 0; tries < 100; tries++) {
		device = open_or_fault(loop_device, O_RDWR);
		bool is_free = ioctl(device, LOOP_GET_STATUS64, &info) != 0 && errno == ENXIO;
		close(device);
		if (is_free)
			return;
		pause_milliseconds(50);
	}
	fault("%s is not free", loop_device);
}

// What has nothing in it takes no place.
static void copy_sparse(const char *from, const char *to)
{
	enum { BLOCK = 4096, AT_ONCE = 256 * BLOCK };
	static char data[AT_ONCE], zeros[BLOCK];
	int in_fd = open_or_fault(from, O_RDONLY), out_fd = open_or_fault(to, O_RDWR | O_CREAT);
	off_t position = 0;
	ssize_t length;
	while ((length = read(in_fd, data, AT_ONCE)) > 0) {
		for (ssize_t at = 0; at < length; at += BLOCK)
			if (memcmp(data + at, zeros, BLOCK) != 0)
				need(pwrite(out_fd, data + at, BLOCK, position + at) == BLOCK, "pwrite");
		position += length;
	}
	need(length == 0 && ftruncate(out_fd, position) == 0, "copy");
	close(in_fd);
	close(out_fd);
}

static void image_written(void)
{
	make_source();
	make_image(plain("image"));
	make_image(plain("other"));
	mount_image(plain("image"), plain("inside"));
	create(in(plain("inside"), "clean"));
	strcpy(target, in(plain("inside"), "f"));
	play("copier", act_copy);
	expect_real(target, target);
	read_as("neighbour", in(plain("inside"), "clean"), act_read_clean);
	read_as("image-reader", plain("image"), act_read_managed);
	expect_real(plain("image"), plain("image"));
	read_as("outsider", plain("other"), act_read_clean);
	read_as("loop-reader", loop_device, act_read_managed);
	expect_real(loop_device, loop_device);
}

static void image_classified(void)
{
	char *image = plain("image"), *now = classified("image");
	make_image(image);
	mount_image(image, plain("inside"));
	create(in(plain("inside"), "f"));
	need(rename(image, now) == 0, "rename");
	expect_real(now, now);
	read_as("reader", in(plain("inside"), "f"), act_read_managed);
	expect_real(in(plain("inside"), "f"), in(plain("inside"), "f"));
	folder(plain("b"));
	make_image(plain("other"));
	mount_image(plain("other"), plain("b"));
	create(in(plain("b"), "f"));
	read_as("outsider", in(plain("b"), "f"), act_read_clean);
}

// The image holds what a file in it has got, whether anybody looks or not; that of its neighbour does not.
static void image_unread(void)
{
	make_source();
	make_image(plain("image"));
	make_image(plain("other"));
	mount_image(plain("other"), plain("b"));
	create(in(plain("b"), "f"));
	mount_image(plain("image"), plain("inside"));
	strcpy(target, in(plain("inside"), "f"));
	play("copier", act_copy);
	expect_in_image(target, plain("image"));
	create(in(plain("inside"), "clean"));
	read_as("neighbour", in(plain("inside"), "clean"), act_read_clean);
	need(umount(plain("b")) == 0, "umount");
	read_as("outsider", plain("other"), act_read_clean);
}

static void act_link(void)
{
	read_file(source);
	need(symlink("ink", target) == 0, "symlink");
	expect_self(ENDED);
}

static void image_link(void)
{
	struct stat status;
	make_source();
	make_image(plain("image"));
	mount_image(plain("image"), plain("inside"));
	strcpy(target, in(plain("inside"), "link"));
	play("linker", act_link);
	need(lstat(target, &status) == 0, "lstat");
	expect_file_as(&status, target, LIVE);
	expect_real(plain("image"), plain("image"));
}

static void image_nested(void)
{
	make_source();
	make_image(plain("outer"));
	mount_image(plain("outer"), plain("a"));
	copy_sparse("/payload/ext4", in(plain("a"), "inner"));
	copy_sparse("/payload/ext4", in(plain("a"), "inner2"));
	mount_image(in(plain("a"), "inner2"), plain("c"));
	create(in(plain("c"), "f"));
	mount_image(in(plain("a"), "inner"), plain("b"));
	strcpy(target, in(plain("b"), "f"));
	play("copier", act_copy);
	expect_real(target, target);
	expect_in_image(in(plain("a"), "inner"), plain("outer"));
}

// By its name, when it is opened, and then in the image too.
static void image_of_classified(void)
{
	char *mounted = classified("inside");
	make_image(plain("image"));
	mount_image(plain("image"), mounted);
	create(in(mounted, "f"));
	expect_in_image(in(mounted, "f"), plain("image"));
}

// Another image on the same device, with a file of the same numbers: nothing new comes to that, but to the image.
static void image_exchanged(void)
{
	char *mounted = plain("inside");
	make_source();
	make_image(plain("image"));
	int number = attach(plain("image"));
	mount_as("ext4", mounted);
	create(in(mounted, "f"));
	unmount_and_detach(mounted);
	copy_sparse(plain("image"), plain("copy"));
	copy_sparse(plain("image"), plain("unused"));
	strcpy(target, in(mounted, "f"));
	attach_to(plain("image"), number);
	mount_as("ext4", mounted);
	play("copier", act_copy);
	expect_real(target, target);
	unmount_and_detach(mounted);
	attach_to(plain("copy"), number);
	mount_as("ext4", mounted);
	play("copier", act_copy);
	expect_real(plain("image"), plain("image"));
	expect_real(plain("copy"), plain("copy"));
	read_as("outsider", plain("unused"), act_read_clean);
}

/* Disks */

// The disk with this serial number, "" if there is none.
static const char *disk(const char *serial)
{
	static char path[64];
	for (char letter = 'a'; letter < 'z'; letter++) {
		char file[64], text[32] = "";
		snprintf(file, sizeof(file), "/sys/block/vd%c/serial", letter);
		int fd = open(file, O_RDONLY | O_CLOEXEC);
		ssize_t length = fd < 0 ? 0 : read(fd, text, sizeof(text) - 1);
		close(fd);
		if (length > 0 && strncmp(text, serial, strlen(serial)) == 0) {
			snprintf(path, sizeof(path), "/dev/vd%c", letter);
			return path;
		}
	}
	fault("there is no disk %s", serial);
}

// Under a file system that holds managed files; and one that holds none.
static void raw_disk(void)
{
	make_source();
	read_as("reader", "/dev/vda", act_read_managed);
	expect_real("/dev/vda", "/dev/vda");
	read_as("outsider", disk("modules"), act_read_clean);
}

static void act_write_raw(void)
{
	read_file(source);
	int fd = open_or_fault(target, O_WRONLY);
	need(lseek(fd, -4096, SEEK_END) > 0, "lseek");
	write_some(fd);
	expect_self(ENDED);
}

// A loop device itself: it is the image that is written, and nothing else on the disk below.
static void loop_written(void)
{
	make_source();
	make_image(plain("image"));
	make_image(plain("other"));
	attach(plain("other"));
	attach(plain("image"));
	strcpy(target, loop_device);
	play("raw-writer", act_write_raw);
	expect_real(loop_device, loop_device);
	expect_real(plain("image"), plain("image"));
	create(plain("beside"));
	read_as("outsider", plain("beside"), act_read_clean);
	read_as("outsider", plain("other"), act_read_clean);
}

// Past a file system: whatever is read from it afterwards may be that.
static void raw_written(void)
{
	run("modprobe brd rd_nr=2 rd_size=4096");
	make_image("/dev/ram0");
	make_image("/dev/ram1");
	folder(plain("ram0"));
	folder(plain("ram1"));
	need(mount("/dev/ram0", plain("ram0"), "ext4", 0, NULL) == 0, "mount ram0");
	need(mount("/dev/ram1", plain("ram1"), "ext4", 0, NULL) == 0, "mount ram1");
	create(in(plain("ram0"), "f"));
	create(in(plain("ram1"), "f"));
	make_source();
	strcpy(target, "/dev/ram0");
	play("raw-writer", act_write_raw);
	expect_real("/dev/ram0", "/dev/ram0");
	read_as("reader", in(plain("ram0"), "f"), act_read_managed);
	expect_real(in(plain("ram0"), "f"), in(plain("ram0"), "f"));
	read_as("outsider", in(plain("ram1"), "f"), act_read_clean);
}

/* File systems that share blocks */

static void act_clone(void)
{
	int from = open_or_fault(target, O_RDONLY), to = open_or_fault(merged, O_WRONLY | O_CREAT);
	need(ioctl(to, FICLONE, from) == 0, "FICLONE");
}

static void share_blocks(const char *type)
{
	char *directory = plain(type), command[64];
	make_source();
	snprintf(command, sizeof(command), "modprobe %s", type);
	run(command);
	folder(directory);
	need(mount(disk(type), directory, type, 0, NULL) == 0, "mount");
	strcpy(target, in(directory, "f"));
	play("copier", act_copy);
	expect_real(target, target);
	strcpy(merged, in(directory, "clone"));
	play("cloner", act_clone);
	read_as("reader", merged, act_read_managed);
	expect_real(merged, merged);
	create(in(directory, "clean"));
	read_as("outsider", in(directory, "clean"), act_read_clean);
	read_as("disk-reader", disk(type), act_read_managed);
	expect_real(target, target);
}

/* Commands of a file system's own that move what files hold */

// struct xfs_swapext (fs/xfs/libxfs/xfs_fs.h): the whole of both files, of which the first one must be as it was found.
static void act_swap_extents(void)
{
	struct {
		int64_t version, target, temporary, offset, length;
		char pad[16];
		struct {
			uint64_t inode;
			char numbers[32];
			struct {
				int64_t seconds;
				int32_t nanoseconds, pad;
			} accessed, modified, changed;
			char more[48];
		} found;
	} swap = { .length = SIZE };
	struct stat status;
	int one = open_or_fault(target, O_RDWR), other = open_or_fault(merged, O_RDWR);
	need(fsync(one) == 0 && fsync(other) == 0 && fstat(one, &status) == 0, target);
	swap.target = one;
	swap.temporary = other;
	swap.found.inode = status.st_ino;
	swap.found.modified.seconds = status.st_mtim.tv_sec;
	swap.found.modified.nanoseconds = (int32_t)status.st_mtim.tv_nsec;
	swap.found.changed.seconds = status.st_ctim.tv_sec;
	swap.found.changed.nanoseconds = (int32_t)status.st_ctim.tv_nsec;
	need(sizeof(swap) == 192 && ioctl(one, _IOWR('X', 109, char[192]), &swap) == 0, "XFS_IOC_SWAPEXT");
}

static void make_pair(const char *directory)
{
	strcpy(target, in(directory, "swapped"));
	play("copier", act_copy);
	need(truncate(target, SIZE) == 0, target);
	strcpy(merged, create(in(directory, "other")));
	need(truncate(merged, SIZE) == 0, merged);
}

static void swapped_xfs(const char *directory)
{
	make_pair(directory);
	play("swapper", act_swap_extents);
	expect_real(target, target);
	read_as("reader", merged, act_read_managed);
	expect_real(merged, merged);
}

// A subvolume as a stream. Into a pipe: 5.10 cannot send it to a file of ext4 (an Oops: both keep something in task_struct.journal_info).
static int stream[2];

static void act_send(void)
{
	struct btrfs_ioctl_vol_args_v2 snapshot = { .flags = BTRFS_SUBVOL_RDONLY, .name = "snapshot" };
	struct btrfs_ioctl_send_args send = { .send_fd = stream[1] };
	int root = open_or_fault(target, O_RDONLY);
	snapshot.fd = open_or_fault(in(target, "part"), O_RDONLY);
	need(ioctl(root, BTRFS_IOC_SNAP_CREATE_V2, &snapshot) == 0, "BTRFS_IOC_SNAP_CREATE_V2");
	int sent = open_or_fault(in(target, "snapshot"), O_RDONLY);
	need(ioctl(sent, BTRFS_IOC_SEND, &send) == 0, "BTRFS_IOC_SEND");
}

static void act_receive(void)
{
	read_some(stream[0]);
	expect_self(ENDED);
}

static void sent_btrfs(const char *directory)
{
	struct stat status;
	struct btrfs_ioctl_vol_args part = { .name = "part" };
	need(ioctl(open_or_fault(directory, O_RDONLY), BTRFS_IOC_SUBVOL_CREATE, &part) == 0, "BTRFS_IOC_SUBVOL_CREATE");
	for (char name[] = "a"; name[0] <= 'h'; name[0]++) // so that none that counts has the number of one outside
		create(in(in(directory, "part"), name));
	strcpy(target, in(in(directory, "part"), "secret"));
	play("copier", act_copy);
	expect_real(target, target);
	need(pipe(stream) == 0 && fstat(stream[0], &status) == 0, "pipe");
	read_as("sender", directory, act_send);
	expect_real(in(directory, "snapshot"), in(directory, "snapshot"));
	play("receiver", act_receive);
	expect_pipe_as(&status, ENDED);
}

static void cloned_btrfs(void)
{
	share_blocks("btrfs");
	sent_btrfs(plain("btrfs"));
}

// Of a file system that does not say where it lies. The disk that it was copied from is for cloned-btrfs.
static void image_of_btrfs(void)
{
	make_source();
	run("modprobe btrfs");
	copy_sparse(disk("btrfs"), plain("image"));
	make_image(plain("other"));
	mount_image(plain("other"), plain("b"));
	create(in(plain("b"), "f"));
	attach(plain("image"));
	mount_as("btrfs", plain("inside"));
	// With inode numbers that no file of cloned-btrfs will have.
	for (char name[] = "a"; name[0] <= 'p'; name[0]++)
		create(in(plain("inside"), name));
	strcpy(target, in(plain("inside"), "copy"));
	play("copier", act_copy);
	read_as("neighbour", in(plain("inside"), "a"), act_read_clean);
	expect_in_image(in(plain("inside"), "copy"), plain("image"));
	// Two copies at a time cannot be mounted: it is forgotten.
	unmount_and_detach(plain("inside"));
	run("rmmod btrfs");
}

static void cloned_xfs(void)
{
	share_blocks("xfs");
	swapped_xfs(plain("xfs"));
}

const struct scenario filesystem_scenarios[] = {
	{ "overlay-lower", overlay_lower },
	{ "overlay-copied-up", overlay_copied_up },
	{ "overlay-attribute", overlay_attribute },
	{ "overlay-descriptor", overlay_descriptor },
	{ "overlay-renamed", overlay_renamed },
	{ "overlay-written", overlay_written },
	{ "overlay-unlinked", overlay_unlinked },
	{ "bind-mounted", bind_mounted },
	{ "bind-linked", bind_linked },
	{ "temporary-linked", temporary_linked },
	{ "by-handle", by_handle },
	{ "on-tmpfs", on_tmpfs },
	{ "image-written", image_written },
	{ "image-classified", image_classified },
	{ "image-unread", image_unread },
	{ "image-of-classified", image_of_classified },
	{ "image-exchanged", image_exchanged },
	{ "image-link", image_link },
	{ "image-nested", image_nested },
	{ "raw-disk", raw_disk },
	{ "loop-written", loop_written },
	{ "cloned-xfs", cloned_xfs },
	{ "image-of-btrfs", image_of_btrfs },
	{ "cloned-btrfs", cloned_btrfs },
	// From here on what comes from a btrfs may be that.
	{ "raw-written", raw_written },
	{ NULL, NULL },
};
