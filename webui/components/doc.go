// Package components holds the parts that pages are made of: the frame (Layout), the drawings, and each part of
// LOOK.md, section 6, as one templ component over a small view value. Components know words only by
// their keys and places only by their paths; they compute nothing but which class says what.
//
// No component writes a style attribute, a script or an event handler into a page: the Content-Security-Policy forbids
// them, and a browser test fails on one.
package components
