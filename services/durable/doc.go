// Package durable writes state so that a pulled plug leaves the old content or the new one, whole: files
// (WriteFile, Remove), appended records (Append), SQLite databases (OpenSQLite), and the crash points that let
// a test pull the plug between any two steps (Point).
//
// "Acknowledged means on disk": when a function here returns nil, file and folder have been synced.
//
// The package is a leaf tool: anyone may import it, and it imports nothing of ours.
package durable
