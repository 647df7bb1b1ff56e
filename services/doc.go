// Package services holds the few words that several of Hearth's services share, and no behaviour: who a
// request comes from (Face, Role, Caller), who belongs (Membership and what is in it), how a service says how
// it is (Health), how it speaks to people (Sentence, Problem), and what every service that keeps data offers
// (Snapshotter).
//
// A word lives here only when at least two services need it. Each service has a folder below this one and
// imports this package and the leaf tools beside them (durable, clock, secret, claimcode, crowd, looks), never
// another service: what it needs of one it declares as a small interface, and appliance hands the provider in.
package services
