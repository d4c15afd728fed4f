/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "daemon/target.h"

#include <sys/socket.h>

bool target_of(const struct wire_object *object, struct policy_target *target)
{
	bool endpoint = object->kind == WIRE_ENDPOINT;
	if (endpoint && object->family != AF_UNSPEC)
		return policy_target_of_socket(object->family, object->socket_type, object->address,
					       target);
	if (object->kind == WIRE_FILE || (endpoint && object->mode))
		return policy_target_of_file(object->mode, target_text(object),
					     endpoint ? object->peer : object->name, object->removable, target);
	if (object->kind != WIRE_PROCESS && !(endpoint && object->denied))
		return false;
	policy_target_of_process(target);
	return true;
}

const char *target_text(const struct wire_object *object)
{
	if (object->kind == WIRE_FILE)
		return object->path;
	if (object->kind == WIRE_PROCESS)
		return object->path;
	if (object->family == AF_VSOCK)
		return "vsock";
	if (object->family == AF_UNSPEC && !object->mode)
		return object->path; // a process from which something was kept
	return object->address;
}
