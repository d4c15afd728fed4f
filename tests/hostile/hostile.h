/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the module (hostile.c) and the program that uses it (play.c) agree on: requests of ioctl()
 * on /dev/hostile. */
enum {
	HOSTILE_BUFFER = 16384,	    // bytes of the victim's memory that arguments point to
	HOSTILE_CAPTURE = 0x4e01,   // of the calling process; the value: its buffer
	HOSTILE_FORGE = 0x4e02,	    // the calling process is forged until its next hollow call
	HOSTILE_STOP = 0x4e03,	    // calls | milliseconds << 16 | in place << 24
	HOSTILE_RENUMBER = 0x4e04,  // a descriptor of a file of a tmpfs
	HOSTILE_LSTAR = 0x4e05,	    // 1: away, 0: back
	HOSTILE_CALLS = 0x4e06,	    // how many hollow calls there were
	HOSTILE_SCRIBBLED = 0x4e07, // how many words are, or were, lies
};
