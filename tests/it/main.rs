//! Integration tests: the real program against real databases.
