/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Texts: strings and paths. */

INLINE int text_fault(struct text *t)
{
	t->len = 0;
	t->flags = 0;
	t->mode = 0;
	t->status = ARG_FAULT;
	return -ARG_FAULT;
}

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
#ifdef TETRA_LEGACY
	bpf_probe_read_kernel(root, sizeof *root, &fs->root.mnt);
	struct path *path = (void *)root;
	*root = (struct root){ path->dentry, path->mnt };
#else
	root->dentry = fs->root.dentry;
	root->mnt = fs->root.mnt;
#endif
}

/* One copy of each walk per program; verified where it is called. */
LIBRARY int walk_pointers(struct text *t, struct dentry *dentry, struct vfsmount *mnt)
{
	struct root root;

	if (!dentry)
		return text_fault(t);
	read_root(&root);
	return walk_trusted(t, dentry, mnt, root.dentry, root.mnt);
}

LIBRARY int walk_addresses(struct text *t, struct dentry *dentry, struct vfsmount *mnt)
{
	struct root root;

	if (!dentry)
		return text_fault(t);
	read_root(&root);
	return walk_address(t, dentry, mnt, root.dentry, root.mnt);
}

/* One file system, no mount: the walk ends at the root of the file system and no process root is in the way. */
LIBRARY int tetra_walk_dentry_trusted(struct text *t, void *pointer)
{
	struct dentry *dentry = pointer;

	if (!dentry)
		return text_fault(t);
	t->mode = dentry->d_inode->i_mode;
	return walk_trusted(t, dentry, 0, 0, 0);
}

LIBRARY int tetra_walk_dentry(struct text *t, const void *address)
{
	struct dentry *dentry = (void *)address;

	if (!dentry)
		return text_fault(t);
	struct inode *inode = READ(dentry, d_inode);
	t->mode = inode ? READ(inode, i_mode) : 0;
	return walk_address(t, dentry, 0, 0, 0);
}

LIBRARY int tetra_walk_path_trusted(struct text *t, void *pointer)
{
	struct path *path = pointer;

	if (!path)
		return text_fault(t);
	struct dentry *dentry = path->dentry;
	t->mode = dentry->d_inode->i_mode;
	return walk_pointers(t, dentry, path->mnt);
}

LIBRARY int tetra_walk_path(struct text *t, const void *address)
{
	const struct path *path = address;
	struct dentry *dentry = READ(path, dentry);
	struct inode *inode = READ(dentry, d_inode);

	t->mode = inode ? READ(inode, i_mode) : 0;
	return walk_addresses(t, dentry, READ(path, mnt));
}

INLINE int walk_file_pointer(struct text *t, struct file *file)
{
	t->mode = file->f_inode->i_mode;
	return walk_pointers(t, file->f_path.dentry, file->f_path.mnt);
}

LIBRARY int tetra_walk_file_trusted(struct text *t, void *pointer)
{
	struct file *file = pointer;

	return file ? walk_file_pointer(t, file) : text_fault(t);
}

LIBRARY int tetra_walk_file(struct text *t, const void *address)
{
	const struct file *file = address;
	struct inode *inode = READ(file, f_inode);

	t->mode = inode ? READ(inode, i_mode) : 0;
	return walk_addresses(t, READ(file, f_path.dentry), READ(file, f_path.mnt));
}

LIBRARY int tetra_walk_fd(struct text *t, __u32 fd)
{
	struct files_struct *files = TASK_FIELD(current_task(), files);
	struct fdtable *table = TASK_FIELD(files, fdt);
	struct file *file = 0;

	if (fd >= TASK_FIELD(table, max_fds))
		return text_fault(t);
	bpf_probe_read_kernel(&file, sizeof file, TASK_FIELD(table, fd) + fd);
	return file ? tetra_walk_file(t, file) : text_fault(t);
}

LIBRARY int tetra_walk_binprm_trusted(struct text *t, void *pointer)
{
	struct linux_binprm *bprm = pointer;

	return bprm ? walk_file_pointer(t, bprm->file) : text_fault(t);
}

LIBRARY int tetra_walk_binprm(struct text *t, const void *address)
{
	const struct linux_binprm *bprm = address;
	struct file *file = READ(bprm, file);

	return file ? tetra_walk_file(t, file) : text_fault(t);
}

LIBRARY int tetra_walk_exe(struct text *t)
{
	struct mm_struct *mm = TASK_FIELD(current_task(), mm);

	if (!mm)
		return text_fault(t);
	struct file *file = TASK_FIELD(mm, exe_file);
	if (!file)
		return text_fault(t);
#ifdef TETRA_LEGACY
	return tetra_walk_file(t, file);
#else
	return walk_file_pointer(t, file);
#endif
}
