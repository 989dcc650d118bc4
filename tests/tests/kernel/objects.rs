//! Compiled objects, as other tools see them.
