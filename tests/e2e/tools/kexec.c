/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <fcntl.h>
#include <linux/kexec.h>
#include <linux/reboot.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* kexec [-p] KERNEL INITRAMFS [ARGUMENT]: starts another kernel, with the command line of the one that runs, and ARGUMENT.
 * -p: not now; it is what that one starts when it panics. */

int main(int argc, char **argv)
{
	char line[2048];
	bool on_panic = argc > 1 && strcmp(argv[1], "-p") == 0;
	argc -= on_panic;
	argv += on_panic;
	if (argc != 3 && argc != 4)
		return 2;
	int kernel = open(argv[1], O_RDONLY), initramfs = open(argv[2], O_RDONLY);
	int from = open("/proc/cmdline", O_RDONLY);
	ssize_t length = read(from, line, sizeof(line) / 2);
	if (length <= 0)
		return 1;
	line[length - 1] = '\0'; // instead of the end of the line
	if (argc == 4)
		snprintf(line + length - 1, sizeof(line) / 2, " %s", argv[3]);
	if (syscall(SYS_kexec_file_load, kernel, initramfs, strlen(line) + 1, line,
		    on_panic ? KEXEC_FILE_ON_CRASH : 0) != 0) {
		perror("kexec_file_load");
		return 1;
	}
	if (on_panic)
		return 0;
	syscall(SYS_reboot, LINUX_REBOOT_MAGIC1, LINUX_REBOOT_MAGIC2, LINUX_REBOOT_CMD_KEXEC, NULL);
	perror("reboot");
	return 1;
}
