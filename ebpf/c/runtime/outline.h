/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Outline of a path: its two ends, by which most paths can be told from the ones a policy means before a text is built
 * and before any memory is taken.
 *
 *     /usr/share/zoneinfo/Europe/Zurich
 *     ^^^^^^^^ head             ^^^^^^^ tail
 *
 * Names are read from within the dentries: the compiler asks for outlines only where short names lie right behind
 * d_inode, as they do in every kernel seen.
 *
 * Whatever is not the common case (an unlinked file, many or long components, a mount in a mount) has no outline. Then
 * the whole path decides, so an outline may be missing but never wrong.
 */
#ifndef TETRA_OUTLINE_H
#define TETRA_OUTLINE_H

struct outline {
	__u64 head;     /* the first 8 bytes of the text; the rest is zero if it is shorter */
	__u64 tail;     /* the last 8 bytes of the last component with its slash, the last one on top; the rest is zero */
}; /* both are zero for an empty text */

#define OUTLINE_STEPS 8    /* components below the mount, and one */
#define OUTLINE_LEADS 3    /* components of the mountpoint, and one */

/*
 * The first two components so far, which make the head. Of those between them and the last one no more than the parent is
 * read.
 */
struct outline_top {
	struct dentry *first, *second;
	__u32 depth;               /* how many components there are */
};

/* One component more at the front. */
INLINE void outline_add(struct outline_top *top, struct dentry *dentry)
{
	top->second = top->first;
	top->first = dentry;
	top->depth++;
}

INLINE const __u64 *inline_name(struct dentry *dentry)
{
	return (const __u64 *)((void *)&dentry->d_parent + __builtin_offsetof(struct dentry_link, inline_name) -
			       __builtin_offsetof(struct dentry_link, parent));
}

INLINE __u64 low_bytes(__u64 word, __u32 bits)
{
	return word & ((1ull << bits) - 1); /* bits below 64 */
}

/*
 * word, len: of the first component's name. Returns 0 if three components would be needed, or a name that does not lie in
 * its dentry.
 */
INLINE int outline_head(struct outline *o, __u64 word, __u32 len, struct outline_top *top)
{
	__u64 head = '/' | word << 8;
	__u32 bits = len * 8 + 8;

	if (len >= NAME_INLINE)
		return 0;
	if (bits < 64) {
		head = low_bytes(head, bits);
		if (top->depth > 1) {
			__u32 second_len = top->second->d_name.len;
			__u64 second = inline_name(top->second)[0];

			if (second_len >= NAME_INLINE)
				return 0;
			head |= (__u64)'/' << bits;
			bits += 8;
			__u32 end = bits + second_len * 8;
			if (end >= 64) {
				if (bits < 64)
					head |= second << bits;
			} else {
				head |= low_bytes(second, second_len * 8) << bits;
				if (top->depth > 2) {
					if (end < 56)
						return 0;
					head |= (__u64)'/' << end;
				}
			}
		}
	}
	o->head = head;
	return 1;
}

/* Returns 0 if the name does not lie in its dentry. */
INLINE int outline_tail(struct outline *o, struct dentry *dentry)
{
	const __u64 *name = inline_name(dentry);
	__u32 len = dentry->d_name.len;

	if (len >= NAME_INLINE)
		return 0;
	if (len < 8) {
		__u32 shift = 64 - len * 8;
		o->tail = name[0] << shift | (__u64)'/' << (shift - 8);
		return 1;
	}
	__u32 shift = len % 8 * 8;
	__u64 low, high;
	if (len < 16) {
		low = name[0];
		high = name[1];
	} else if (len < 24) {
		low = name[1];
		high = name[2];
	} else {
		low = name[2];
		high = name[3];
	}
	o->tail = low >> shift | high << 1 << (63 - shift);
	return 1;
}

enum { LEAD_NONE, LEAD_WHOLE, LEAD_READ };

/* Adds the mountpoint's components, up to the root; `mount` is a pointer that the verifier lets programs follow. */
INLINE int follow_lead(struct outline_top *top, struct mount *mount, struct root *root)
{
	struct mount *parent = mount->mnt_parent;
	struct dentry *dentry = mount->mnt_mountpoint;

	if (parent == mount) /* a pipe, a socket: the text is empty */
		return top->depth ? LEAD_NONE : LEAD_WHOLE;
	if ((void *)parent + KERNEL_OFFSET(struct mount, mnt) != root->mnt || !top->depth)
		return LEAD_NONE;
#pragma clang loop unroll(disable)
	for (int i = 0; i < OUTLINE_LEADS; i++) {
		if (dentry == root->dentry)
			return LEAD_WHOLE;
		struct dentry *above = dentry->d_parent;
		if (dentry == above)
			return LEAD_NONE;
		outline_add(top, dentry);
		dentry = above;
	}
	return LEAD_NONE;
}

/* The same for one component, through an address. LEAD_READ: `link` is that component. */
INLINE int read_lead(struct dentry_link *link, struct outline_top *top, struct mount *mount, struct root *root)
{
	struct mount_link up;

	if (read_mount_link(&up, mount))
		return LEAD_NONE;
	if (up.parent == mount)
		return top->depth ? LEAD_NONE : LEAD_WHOLE;
	if ((void *)up.parent + KERNEL_OFFSET(struct mount, mnt) != root->mnt || !top->depth)
		return LEAD_NONE;
	if (up.mountpoint == root->dentry)
		return LEAD_WHOLE;
	if (read_dentry_link(link, up.mountpoint) || link->parent != root->dentry)
		return LEAD_NONE;
	outline_add(top, up.mountpoint);
	return LEAD_READ;
}

/*
 * 1, or 0 if the path has no outline. mount: the struct mount around the path's. follows: a pointer that the verifier lets
 * programs follow.
 */
INLINE int outline_path(struct outline *o, struct path *path, struct mount *mount, int follows)
{
	struct dentry *last = path->dentry, *dentry = last;
	struct vfsmount *mnt = path->mnt;
	struct outline_top top = {};
	struct dentry_link link;
	struct root root;
	__u64 word;
	__u32 len;

	if (may_be_null(dentry) || may_be_null(mnt) || !dentry || !mnt)
		return 0;
	if (!dentry->d_hash.pprev && dentry != dentry->d_parent)
		return 0;
	read_root(&root);
	int is_root_mount = mnt == root.mnt;
	struct dentry *stop = is_root_mount ? root.dentry : mnt->mnt_root;
	/* not unrolled, which an opaque count prevents: clang would move first and second through the stack at each step */
	while (dentry != stop) {
		struct dentry *parent = dentry->d_parent;
		if (dentry == parent) {
			if (is_root_mount)
				return 0;
			break;
		}
		outline_add(&top, dentry);
		OPAQUE(top.depth);
		if (top.depth == OUTLINE_STEPS)
			return 0;
		dentry = parent;
	}
	if (is_root_mount)
		goto whole;
	int lead = follows ? follow_lead(&top, mount, &root) : read_lead(&link, &top, mount, &root);
	if (lead == LEAD_NONE)
		return 0;
	if (lead == LEAD_READ) {
		word = link.inline_name[0];
		len = link.len;
		OPAQUE(word); /* clang would load both this and the one below by one instruction, which the verifier refuses */
		goto named;
	}
whole:
	if (!top.depth) {
		o->head = 0;
		o->tail = 0;
		return 1;
	}
	word = inline_name(top.first)[0];
	len = top.first->d_name.len;
named:
	/* a component of the mountpoint is never the last one */
	return outline_tail(o, last) && outline_head(o, word, len, &top);
}

LIBRARY int tetra_outline_file(struct outline *o, void *pointer, const void *mount)
{
	struct file *file = pointer;

	return outline_path(o, &file->f_path, (struct mount *)mount, 0);
}

LIBRARY int tetra_outline_path(struct outline *o, void *pointer, const void *mount)
{
	return outline_path(o, pointer, (struct mount *)mount, 0);
}

LIBRARY int tetra_outline_file_trusted(struct outline *o, void *pointer, void *mount)
{
	struct file *file = pointer;

	return outline_path(o, &file->f_path, mount, 1);
}

LIBRARY int tetra_outline_path_trusted(struct outline *o, void *pointer, void *mount)
{
	return outline_path(o, pointer, mount, 1);
}

#endif
