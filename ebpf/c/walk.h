/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Path walk: from a dentry and its mount up to the root of the current process.
 *
 * A path is found last component first, so the text grows from the right end of text.bytes and is moved to the left
 * when it is complete. The first components may be read through pointers that the verifier knows (cheap); from the
 * first mount crossing on, and for deep paths, the walk goes on through addresses in global functions. Those are
 * verified once however often a program walks, and need no bpf_loop, so 5.10 walks as deep as the newest kernel.
 *
 *     text.bytes  |....................|/name|/name|/name|.. slack ..|
 *                 0                    ^position         TEXT_MAX
 */
#ifndef TETRA_WALK_H
#define TETRA_WALK_H
#include "scratch.h"

#define WALK_CHUNK 16      /* steps of one call of walk_chunk */
#define WALK_CHUNKS 136    /* 2,176 steps: a text of 4,096 bytes has at most 2,048 components, the rest are mounts */
#define WALK_TRUSTED 8     /* steps through pointers, before addresses take over */
#define NAME_MAX 255

/* State of a walk through addresses; it lies in the slack of its text, which holds no text while one walks. */
struct walk {
	struct dentry *dentry;
	struct vfsmount *mnt;
	struct dentry *mnt_root;
	struct dentry *root_dentry;
	struct vfsmount *root_mnt;
	__u32 position;
	__u32 flags;
};

INLINE struct walk *walk_state(struct text *t)
{
	return (struct walk *)(t->bytes + TEXT_MAX);
}

/* d_parent and d_name stand side by side in every kernel seen, so one read fetches both. */
struct dentry_link { struct dentry *parent; __u32 hash; __u32 len; const unsigned char *name; };

INLINE int read_dentry_link(struct dentry_link *link, struct dentry *dentry)
{
	if (KERNEL_OFFSET(struct dentry, d_name) == KERNEL_OFFSET(struct dentry, d_parent) + 8)
		return bpf_probe_read_kernel(link, sizeof *link, &dentry->d_parent);
	link->parent = READ(dentry, d_parent);
	link->len = READ(dentry, d_name.len);
	link->name = READ(dentry, d_name.name);
	return link->parent ? 0 : -1;
}

/* So do mnt_parent and mnt_mountpoint. */
struct mount_link { struct mount *parent; struct dentry *mountpoint; };

INLINE int read_mount_link(struct mount_link *link, struct mount *mount)
{
	if (KERNEL_OFFSET(struct mount, mnt_mountpoint) == KERNEL_OFFSET(struct mount, mnt_parent) + 8)
		return bpf_probe_read_kernel(link, sizeof *link, &mount->mnt_parent);
	link->parent = READ(mount, mnt_parent);
	link->mountpoint = READ(mount, mnt_mountpoint);
	return link->parent ? 0 : -1;
}

enum { PREPEND_OK, PREPEND_FULL, PREPEND_FAULT };

/* Puts "/name" before position. If it does not fit, its tail does, and the text is a suffix of the path. */
INLINE int prepend(struct text *t, __u32 *position, const unsigned char *name, __u32 len)
{
	__u32 at = *position;
	OPAQUE(at);
	OPAQUE(len);
	if (at > TEXT_MAX || len > NAME_MAX)
		return PREPEND_FAULT;
	if (at < len + 1) {
		OPAQUE(at);
		at &= 0xff; /* says to the verifier what is so already: at <= len <= 255 */
		if (bpf_probe_read_kernel(t->bytes, at, name + (len - at)))
			return PREPEND_FAULT;
		*position = 0;
		return PREPEND_FULL;
	}
	at = (at - len - 1) & (TEXT_MAX - 1);
	t->bytes[at] = '/';
	if (bpf_probe_read_kernel(t->bytes + at + 1, len, name))
		return PREPEND_FAULT;
	*position = at;
	return PREPEND_OK;
}

enum { STEP_ON, STEP_DONE, STEP_FAULT, STEP_FULL };

/* Up to WALK_CHUNK steps. The state is in the text `slot`; 0 if there is more to do. */
GLOBAL int walk_chunk(__u32 slot)
{
	struct text *t = bpf_map_lookup_elem(&tetra_texts, &slot);
	if (!t)
		return STEP_FAULT;
	struct walk *w = walk_state(t);
	struct dentry *dentry = w->dentry;
	struct vfsmount *mnt = w->mnt;
	__u32 position = w->position;
	int result = STEP_ON;

	for (int i = 0; i < WALK_CHUNK; i++) {
		struct dentry_link link;

		if (dentry == w->root_dentry && mnt == w->root_mnt) {
			result = STEP_DONE;
			break;
		}
		if (read_dentry_link(&link, dentry)) {
			result = STEP_FAULT;
			break;
		}
		if (dentry == w->mnt_root || dentry == link.parent) {
			struct mount *mount = (void *)mnt - KERNEL_OFFSET(struct mount, mnt);
			struct mount_link up;

			if (!mnt) { /* a bare dentry: the walk stays inside its file system */
				result = STEP_DONE;
				break;
			}
			if (read_mount_link(&up, mount)) {
				result = STEP_FAULT;
				break;
			}
			if (up.parent == mount) { /* the root of the mount tree: outside of the process root */
				result = STEP_DONE;
				break;
			}
			dentry = up.mountpoint;
			mnt = (void *)up.parent + KERNEL_OFFSET(struct mount, mnt);
			w->mnt_root = READ(mnt, mnt_root);
			continue;
		}
		int prepended = prepend(t, &position, link.name, link.len);
		if (prepended != PREPEND_OK) {
			result = prepended == PREPEND_FULL ? STEP_FULL : STEP_FAULT;
			break;
		}
		dentry = link.parent;
	}
	w->dentry = dentry;
	w->mnt = mnt;
	w->position = position;
	return result;
}

/* Walks to the end from the state in the text `slot`. */
GLOBAL int walk_rest(__u32 slot)
{
	for (int i = 0; i < WALK_CHUNKS; i++) {
		int result = walk_chunk(slot);
		if (result != STEP_ON)
			return result;
	}
	return STEP_FULL;
}

#define DELETED_LEN 10

/* Byte by byte: a string would become a map of constants. */
INLINE void put_deleted(__u8 *to)
{
	to[0] = ' '; to[1] = '('; to[2] = 'd'; to[3] = 'e'; to[4] = 'l';
	to[5] = 'e'; to[6] = 't'; to[7] = 'e'; to[8] = 'd'; to[9] = ')';
}

/* Moves the text to the left end and completes the header of t. */
INLINE int walk_finish(struct text *t, __u32 position, int result, __u32 flags)
{
	OPAQUE(position);
	if (result == STEP_FAULT || position > TEXT_MAX) {
		t->len = 0;
		t->flags = 0;
		t->status = ARG_FAULT;
		return -ARG_FAULT;
	}
	__u32 len = TEXT_MAX - position;
	if (result == STEP_FULL)
		flags |= PATH_UNRESOLVED;
	/* The kernel copies upwards in words, so a target below an overlapping source is safe. */
	bpf_probe_read_kernel(t->bytes, len, t->bytes + position);
	t->len = len;
	t->flags = flags;
	t->status = ARG_OK;
	return len;
}

INLINE int walk_start(struct text *t, __u32 *flags, __u32 deleted)
{
	if (!deleted)
		return TEXT_MAX;
	*flags |= PATH_DELETED;
	put_deleted(t->bytes + TEXT_MAX - DELETED_LEN);
	return TEXT_MAX - DELETED_LEN;
}

/* Walks through pointers that the verifier knows, as long as it can. mnt NULL: stays inside the file system. */
INLINE int walk_trusted(struct text *t, struct dentry *dentry, struct vfsmount *mnt, struct dentry *root_dentry,
			struct vfsmount *root_mnt)
{
	struct walk *w = walk_state(t);
	struct dentry *mnt_root = mnt ? mnt->mnt_root : 0;
	__u32 flags = 0;
	__u32 position = walk_start(t, &flags, !dentry->d_hash.pprev && dentry != dentry->d_parent);
	int result = STEP_ON;

	for (int i = 0; i < WALK_TRUSTED; i++) {
		if (dentry == root_dentry && mnt == root_mnt)
			return walk_finish(t, position, STEP_DONE, flags);
		struct dentry *parent = dentry->d_parent;
		if (dentry == mnt_root || dentry == parent)
			break;
		int prepended = prepend(t, &position, dentry->d_name.name, dentry->d_name.len);
		if (prepended != PREPEND_OK)
			return walk_finish(t, position, prepended == PREPEND_FULL ? STEP_FULL : STEP_FAULT, flags);
		dentry = parent;
	}
	w->dentry = dentry;
	w->mnt = mnt;
	w->mnt_root = mnt_root;
	w->root_dentry = root_dentry;
	w->root_mnt = root_mnt;
	w->position = position;
	result = walk_rest(t->slot);
	return walk_finish(t, w->position, result, flags);
}

/* Walks through addresses. */
INLINE int walk_address(struct text *t, struct dentry *dentry, struct vfsmount *mnt, struct dentry *root_dentry,
			struct vfsmount *root_mnt)
{
	struct walk *w = walk_state(t);
	__u32 flags = 0;
	__u32 position = walk_start(t, &flags, !READ(dentry, d_hash.pprev) && dentry != READ(dentry, d_parent));

	w->dentry = dentry;
	w->mnt = mnt;
	w->mnt_root = mnt ? READ(mnt, mnt_root) : 0;
	w->root_dentry = root_dentry;
	w->root_mnt = root_mnt;
	w->position = position;
	int result = walk_rest(t->slot);
	return walk_finish(t, w->position, result, flags);
}

#endif
