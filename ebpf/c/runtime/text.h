/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Texts: strings and paths. */

/* Two bytes more than a text takes: room for the NUL, and one to tell a string that just fits from a longer one. */
#define STRING_READ (TEXT_MAX + 2)

INLINE int string_finish(struct text *t, long len)
{
	if (len <= 0 || len > STRING_READ)
		return text_fault(t);
	t->flags = 0;
	t->mode = 0;
	t->status = len == STRING_READ ? ARG_TRUNCATED : ARG_OK;
	__u32 length = len == STRING_READ ? TEXT_MAX : len - 1;
	t->len = length;
	return length;
}

LIBRARY int tetra_read_user_string(struct text *t, const void *user)
{
	return string_finish(t, read_user_string(t->bytes, STRING_READ, user));
}

LIBRARY int tetra_read_kernel_string(struct text *t, const void *address)
{
	return string_finish(t, bpf_probe_read_kernel_str(t->bytes, STRING_READ, address));
}

/* What the paths of the current process are relative to. */
struct root { struct dentry *dentry; struct vfsmount *mnt; };

INLINE void read_root(struct root *root)
{
	struct fs_struct *fs = TASK_FIELD(current_task(), fs);

	root->dentry = TASK_FIELD(fs, root.dentry);
	root->mnt = TASK_FIELD(fs, root.mnt);
}

/* One copy of each walk per program; verified where it is called. */
LIBRARY int walk_addresses(struct text *t, struct dentry *dentry, struct vfsmount *mnt)
{
	struct root root;

	read_root(&root);
	return walk_address(t, dentry, mnt, root.dentry, root.mnt);
}

LIBRARY int walk_pointers(struct text *t, struct dentry *dentry, struct vfsmount *mnt)
{
	struct root root;

	read_root(&root);
	return walk_trusted(t, dentry, mnt, root.dentry, root.mnt);
}

/* One file system, no mount: the walk ends at the root of the file system and no process root is in the way. */
LIBRARY int tetra_walk_dentry(struct text *t, const void *address)
{
	return walk_address(t, (struct dentry *)address, 0, 0, 0);
}

LIBRARY int tetra_walk_dentry_trusted(struct text *t, void *pointer)
{
	struct dentry *dentry = pointer;

	if (may_be_null(dentry) || !dentry)
		return tetra_walk_dentry(t, dentry);
	return walk_trusted(t, dentry, 0, 0, 0);
}

/* Inline, because every function in between takes 32 bytes of stack at least. */
INLINE int walk_path_address(struct text *t, const void *address)
{
	struct path path;

	if (bpf_probe_read_kernel(&path, sizeof path, address))
		return text_fault(t);
	return walk_addresses(t, path.dentry, path.mnt);
}

LIBRARY int tetra_walk_path(struct text *t, const void *address)
{
	return walk_path_address(t, address);
}

LIBRARY int tetra_walk_file(struct text *t, const void *address)
{
	const struct file *file = address;

	return walk_path_address(t, file ? &file->f_path : 0);
}

INLINE int walk_path_pointer(struct text *t, struct path *path)
{
	struct dentry *dentry = path->dentry;
	struct vfsmount *mnt = path->mnt;

	if (may_be_null(dentry) || may_be_null(mnt) || !dentry || !mnt)
		return walk_addresses(t, dentry, mnt);
	return walk_pointers(t, dentry, mnt);
}

INLINE int walk_file_pointer(struct text *t, struct file *file)
{
	if (may_be_null(file) || !file)
		return tetra_walk_file(t, file);
	return walk_path_pointer(t, &file->f_path);
}

LIBRARY int tetra_walk_path_trusted(struct text *t, void *pointer)
{
	struct path *path = pointer;

	if (may_be_null(path) || !path)
		return tetra_walk_path(t, path);
	return walk_path_pointer(t, path);
}

LIBRARY int tetra_walk_file_trusted(struct text *t, void *pointer)
{
	return walk_file_pointer(t, pointer);
}

LIBRARY int tetra_walk_fd(struct text *t, __u32 fd)
{
	struct files_struct *files = TASK_FIELD(current_task(), files);
	struct fdtable *table = TASK_FIELD(files, fdt);
	struct file *file = 0;

	if (fd >= TASK_FIELD(table, max_fds))
		return text_fault(t);
	bpf_probe_read_kernel(&file, sizeof file, TASK_FIELD(table, fd) + fd);
	return tetra_walk_file(t, file);
}

LIBRARY int tetra_walk_binprm(struct text *t, const void *address)
{
	const struct linux_binprm *bprm = address;

	return tetra_walk_file(t, READ(bprm, file));
}

LIBRARY int tetra_walk_binprm_trusted(struct text *t, void *pointer)
{
	struct linux_binprm *bprm = pointer;

	if (may_be_null(bprm) || !bprm)
		return tetra_walk_binprm(t, bprm);
	return walk_file_pointer(t, bprm->file);
}

LIBRARY int tetra_walk_exe(struct text *t)
{
	struct mm_struct *mm = TASK_FIELD(current_task(), mm);

	if (!mm)
		return text_fault(t);
#ifdef TETRA_LEGACY
	return tetra_walk_file(t, READ(mm, exe_file));
#else
	return walk_file_pointer(t, mm->exe_file);
#endif
}
