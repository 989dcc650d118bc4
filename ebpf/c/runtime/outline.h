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

/* The topmost component so far, and the one below it. */
struct outline_top {
	__u64 word, below;         /* first bytes of the names, and what stands behind them */
	__u32 len, below_len;
	__u32 depth;               /* how many components there are */
};

/*
 * All state of a walk is in memory and volatile: kept in registers, clang would move it around at every step for the
 * sake of the last one.
 */
struct outline_walk {
	volatile __u64 words[OUTLINE_STEPS];
	volatile __u32 lens[OUTLINE_STEPS];
	volatile struct outline_top top;
};

INLINE void outline_add(volatile struct outline_top *top, __u64 word, __u32 len)
{
	top->below = top->word;
	top->below_len = top->len;
	top->word = word;
	top->len = len;
	top->depth++;
}

/* depth: a constant */
INLINE void outline_top(struct outline_walk *w, int depth)
{
	w->top.depth = depth;
	w->top.word = depth > 0 ? w->words[depth - 1] : 0;
	w->top.len = depth > 0 ? w->lens[depth - 1] : 0;
	w->top.below = depth > 1 ? w->words[depth - 2] : 0;
	w->top.below_len = depth > 1 ? w->lens[depth - 2] : 0;
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

/* Returns 0 if three components would be needed. */
INLINE int outline_head(struct outline *o, volatile struct outline_top *top)
{
	__u64 head = '/' | top->word << 8;
	__u32 bits = top->len * 8 + 8;

	if (bits < 64) {
		head = low_bytes(head, bits);
		if (top->depth > 1) {
			head |= (__u64)'/' << bits;
			bits += 8;
			__u32 below = top->below_len * 8, end = bits + below;
			if (end >= 64) {
				if (bits < 64)
					head |= top->below << bits;
			} else {
				head |= low_bytes(top->below, below) << bits;
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

/* word, len: of the dentry's name */
INLINE void outline_tail(struct outline *o, struct dentry *dentry, __u64 word, __u32 len)
{
	if (len < 8) {
		__u32 shift = 64 - len * 8;
		o->tail = word << shift | (__u64)'/' << (shift - 8);
		return;
	}
	const __u64 *name = inline_name(dentry);
	__u32 shift = len % 8 * 8;
	__u64 low, high;
	if (len < 16) {
		low = word;
		high = name[1];
	} else if (len < 24) {
		low = name[1];
		high = name[2];
	} else {
		low = name[2];
		high = name[3];
	}
	o->tail = low >> shift | high << 1 << (63 - shift);
}

/* The mountpoint's components, up to the root. follows: `mount` is a pointer that the verifier lets programs follow. */
INLINE int outline_lead(volatile struct outline_top *top, struct mount *mount, struct root *root, int follows)
{
	if (follows) {
		struct mount *parent = mount->mnt_parent;
		struct dentry *dentry = mount->mnt_mountpoint;

		if (parent == mount) /* a pipe, a socket: the text is empty */
			return !top->depth;
		if ((void *)parent + KERNEL_OFFSET(struct mount, mnt) != root->mnt || !top->depth)
			return 0;
#pragma unroll
		for (int i = 0; i < OUTLINE_LEADS; i++) {
			if (dentry == root->dentry)
				return 1;
			struct dentry *above = dentry->d_parent;
			__u32 len = dentry->d_name.len;
			if (dentry == above || len >= NAME_INLINE)
				return 0;
			outline_add(top, inline_name(dentry)[0], len);
			dentry = above;
		}
		return 0;
	}
	struct mount_link up;
	struct dentry_link link;

	if (read_mount_link(&up, mount))
		return 0;
	if (up.parent == mount)
		return !top->depth;
	if ((void *)up.parent + KERNEL_OFFSET(struct mount, mnt) != root->mnt || !top->depth)
		return 0;
	if (up.mountpoint == root->dentry)
		return 1;
	if (read_dentry_link(&link, up.mountpoint) || link.parent != root->dentry || link.len >= NAME_INLINE)
		return 0;
	outline_add(top, link.inline_name[0], link.len);
	return 1;
}

/* 1, or 0 if the path has no outline. mount: the struct mount around the path's. */
INLINE int outline_path(struct outline *o, struct path *path, struct mount *mount, int follows)
{
	struct dentry *last = path->dentry, *dentry = last;
	struct vfsmount *mnt = path->mnt;
	struct outline_walk w;
	struct root root;

	if (may_be_null(dentry) || may_be_null(mnt) || !dentry || !mnt)
		return 0;
	if (!dentry->d_hash.pprev && dentry != dentry->d_parent)
		return 0;
	struct dentry *mnt_root = mnt->mnt_root;
	read_root(&root);
#pragma unroll
	for (int i = 0; i < OUTLINE_STEPS; i++) {
		if (dentry == root.dentry && mnt == root.mnt) {
			outline_top(&w, i);
			goto whole;
		}
		if (dentry == mnt_root) {
			outline_top(&w, i);
			goto lead;
		}
		struct dentry *parent = dentry->d_parent;
		if (dentry == parent) {
			outline_top(&w, i);
			goto lead;
		}
		__u32 len = dentry->d_name.len;
		if (len >= NAME_INLINE)
			return 0;
		w.lens[i] = len;
		w.words[i] = inline_name(dentry)[0];
		dentry = parent;
	}
	return 0;
lead:
	if (!outline_lead(&w.top, mount, &root, follows))
		return 0;
whole:
	if (!w.top.depth) {
		o->head = 0;
		o->tail = 0;
		return 1;
	}
	/* a component of the mountpoint is never the last one */
	outline_tail(o, last, w.words[0], w.lens[0]);
	return outline_head(o, &w.top);
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
