/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <dlfcn.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "guest/profile_module.h"

// The module stays loaded: it is a process's own code, not state.
static pthread_mutex_t load_lock = PTHREAD_MUTEX_INITIALIZER;
static profile_analyse loaded;

// Beside the object that this code is part of, or where NIJIMI_LIBRARY_DIR says.
static bool module_path(char path[PATH_MAX], struct error *error)
{
	const char *directory = getenv("NIJIMI_LIBRARY_DIR");
	int length;
	Dl_info self;

	if (directory && *directory) {
		length = snprintf(path, PATH_MAX, "%s/" PROFILE_MODULE_FILE, directory);
	} else {
		if (!dladdr((void *)(uintptr_t)&loaded, &self) || !self.dli_fname)
			return error_set(error, ERROR_SYSTEM, "cannot find out where nijimi is");
		const char *slash = strrchr(self.dli_fname, '/');
		int before = slash ? (int)(slash - self.dli_fname) : 1;
		length = snprintf(path, PATH_MAX, "%.*s/" PROFILE_MODULE_FILE, before,
				  slash ? self.dli_fname : ".");
	}
	if (length < 0 || length >= PATH_MAX)
		return error_set(error, ERROR_LIMIT,
				 "the path of " PROFILE_MODULE_FILE " is too long");
	return true;
}

static profile_analyse load(struct error *error)
{
	char path[PATH_MAX];
	if (!module_path(path, error))
		return NULL;
	void *module = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	if (!module) {
		error_set(error, ERROR_NOT_FOUND, "cannot load the reader of kernel profiles: %s",
			  dlerror());
		return NULL;
	}
	void *function = dlsym(module, PROFILE_MODULE_FUNCTION);
	if (!function) {
		error_set(error, ERROR_NOT_FOUND, "%s is not nijimi's: %s", path, dlerror());
		dlclose(module);
		return NULL;
	}
	return (profile_analyse)function;
}

profile_analyse profile_module_load(struct error *error)
{
	pthread_mutex_lock(&load_lock);
	if (!loaded)
		loaded = load(error);
	profile_analyse result = loaded;
	pthread_mutex_unlock(&load_lock);
	return result;
}

bool guest_profile_preload(struct error *error)
{
	return profile_module_load(error) != NULL;
}
