"""The cube on a disk or in an object store."""
