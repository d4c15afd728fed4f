/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/program.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/cleanup.h"

static bool is_executable(const char *path)
{
	struct stat status;
	return stat(path, &status) == 0 && S_ISREG(status.st_mode) && access(path, X_OK) == 0;
}

static bool explain_path(const char *path, struct error *error)
{
	struct stat status;
	if (stat(path, &status) != 0)
		return error_set_errno(error, "cannot run '%s'", path);
	if (!S_ISREG(status.st_mode))
		return error_set(error, ERROR_INVALID, "'%s' is not a program", path);
	return error_set(error, ERROR_INVALID, "'%s' is not executable", path);
}

bool program_find(const char *name, char path[PATH_MAX], struct error *error)
{
	if (strchr(name, '/')) {
		if (snprintf(path, PATH_MAX, "%s", name) >= PATH_MAX)
			return error_set(error, ERROR_INVALID, "the program's path is too long");
		return is_executable(path) || explain_path(path, error);
	}
	const char *directories = getenv("PATH");
	if (!directories)
		directories = "/usr/local/bin:/usr/bin:/bin";
	while (*directories) {
		size_t length = strcspn(directories, ":");
		snprintf(path, PATH_MAX, "%.*s/%s", length ? (int)length : 1,
			 length ? directories : ".", name);
		if (is_executable(path))
			return true;
		directories += length + (directories[length] == ':');
	}
	return error_set(error, ERROR_NOT_FOUND, "there is no program '%s' along PATH", name);
}

// Programs that the kernel runs in secure mode (AT_SECURE): the loader ignores LD_PRELOAD there.
static bool check_privileges(const char *path, int fd, struct error *error)
{
	struct stat status;
	if (fstat(fd, &status) != 0)
		return error_set_errno(error, "cannot look at '%s'", path);
	bool changes_user = status.st_mode & S_ISUID && status.st_uid != geteuid();
	bool changes_group = status.st_mode & S_ISGID && status.st_gid != getegid();
	if (changes_user || changes_group)
		return error_set(error, ERROR_UNSUPPORTED,
				 "'%s' is set-%s-ID: nothing can be preloaded into it (run a copy "
				 "without that bit)",
				 path, changes_user ? "user" : "group");
	if (geteuid() != 0 && fgetxattr(fd, "security.capability", NULL, 0) > 0)
		return error_set(error, ERROR_UNSUPPORTED,
				 "'%s' has file capabilities: nothing can be preloaded into it "
				 "(run a copy without them)",
				 path);
	return true;
}

static bool has_interpreter(int fd, const Elf64_Ehdr *header)
{
	for (unsigned int i = 0; i < header->e_phnum; i++) {
		Elf64_Phdr segment;
		off_t offset = (off_t)(header->e_phoff + i * sizeof(segment));
		if (pread(fd, &segment, sizeof(segment), offset) != sizeof(segment))
			return false;
		if (segment.p_type == PT_INTERP)
			return true;
	}
	return false;
}

static bool check_elf(const char *path, int fd, const Elf64_Ehdr *header, struct error *error)
{
	if (header->e_ident[EI_CLASS] != ELFCLASS64 || header->e_machine != EM_X86_64)
		return error_set(
			error, ERROR_UNSUPPORTED,
			"'%s' is not an x86-64 program: the agent cannot be loaded into it", path);
	if (header->e_phentsize != sizeof(Elf64_Phdr) || !has_interpreter(fd, header))
		return error_set(error, ERROR_UNSUPPORTED,
				 "'%s' is statically linked: nothing can be preloaded into it",
				 path);
	return true;
}

// The interpreter of a script: the first word behind "#!".
static bool parse_script(char *line, char **interpreter)
{
	if (strncmp(line, "#!", 2) != 0)
		return false;
	char *at = line + 2 + strspn(line + 2, " \t");
	at[strcspn(at, " \t\n")] = '\0';
	*interpreter = at;
	return *at;
}

static bool check_file(const char *path, int depth, struct error *error)
{
	enum { DEPTH = 4 }; // the kernel's own bound, BINPRM_MAX_RECURSION, is near
	union {
		Elf64_Ehdr elf;
		char line[256];
	} head = {0};
	cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0) // executable, but not readable: let it try
		return true;
	if (read(fd, &head, sizeof(head) - 1) < 0)
		return error_set_errno(error, "cannot read '%s'", path);
	char *interpreter;
	if (memcmp(head.elf.e_ident, ELFMAG, SELFMAG) != 0) {
		if (depth < DEPTH && parse_script(head.line, &interpreter))
			return check_file(interpreter, depth + 1, error);
		return true; // what it is, the kernel will say
	}
	return check_privileges(path, fd, error) && check_elf(path, fd, &head.elf, error);
}

bool program_check(const char *path, struct error *error)
{
	return check_file(path, 0, error);
}

bool program_find_own(const char *name, const char *directory, char path[PATH_MAX],
		      struct error *error)
{
	char own[PATH_MAX];
	ssize_t length = readlink("/proc/self/exe", own, sizeof(own) - 1);
	if (length > 0) {
		own[length] = '\0';
		*strrchr(own, '/') = '\0';
		if (snprintf(path, PATH_MAX, "%s/%s", own, name) < PATH_MAX &&
		    access(path, R_OK) == 0)
			return true;
	}
	if (snprintf(path, PATH_MAX, "%s/%s", directory, name) < PATH_MAX &&
	    access(path, R_OK) == 0)
		return true;
	return error_set(error, ERROR_NOT_FOUND,
			 "%s is neither beside nijimi nor in %s: the installation is incomplete",
			 name, directory);
}

bool kvm_check(struct error *error)
{
	cleanup_close int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (fd < 0 && (errno == EACCES || errno == EPERM))
		return error_set(error, ERROR_SYSTEM,
				 "no permission to use /dev/kvm: run as root, or join the group "
				 "that owns it (usually kvm)");
	if (fd < 0)
		return error_set_errno(error,
				       "this machine has no KVM (the processor's virtualization "
				       "may be off, or the module not loaded): /dev/kvm");
	int version = ioctl(fd, KVM_GET_API_VERSION, 0);
	if (version != KVM_API_VERSION)
		return error_set(error, ERROR_UNSUPPORTED,
				 "/dev/kvm is not the KVM that nijimi knows (its version is %d, "
				 "not %d)",
				 version, KVM_API_VERSION);
	return true;
}
