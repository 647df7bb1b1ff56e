// Package identitytest helps the tests of everything that lives by the membership: Members is one that a test sets
// by hand, Smith a household to start from.
package identitytest
