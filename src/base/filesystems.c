/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/filesystems.h"

#include <string.h>

const char *const shared_filesystems[] = {
	"nfs",	     "nfs4",  "cifs", "smb3",	"smbfs", "9p",	   "virtiofs", "fuse",	 "ceph",
	"afs",	     "glusterfs", "ocfs2", "gfs2", "lustre", "coda", "beegfs", "vboxsf", "vmhgfs",
};
const size_t shared_filesystem_count = sizeof(shared_filesystems) / sizeof(shared_filesystems[0]);

bool filesystem_is_shared(const char *type)
{
	for (size_t i = 0; i < shared_filesystem_count; i++)
		if (strcmp(shared_filesystems[i], type) == 0)
			return true;
	return false;
}
