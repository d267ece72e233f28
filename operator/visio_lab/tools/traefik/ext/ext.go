// Package ext stands for the extension points of Traefik's configuration, which its module names but does not contain.
package ext

// HTTP adds nothing to the HTTP configuration.
type HTTP struct{}

// Router adds nothing to a router.
type Router struct{}
