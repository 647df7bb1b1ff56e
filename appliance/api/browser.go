package api

import "strings"

// BrowserName says in short which browser a User-Agent header (RFC 9110, section 10.1.5) means: "Firefox · Android".
// Both parts are names and the same in every language. It is "" for one that is not known, since nobody can tell anything by
// the whole header.
func BrowserName(agent string) string {
	// The first that fits, since most call themselves by the names of others, too.
	browser := firstOf(agent, [][2]string{
		{"Edg", "Edge"}, {"OPR/", "Opera"}, {"SamsungBrowser/", "Samsung Internet"}, {"Firefox/", "Firefox"}, {"FxiOS/", "Firefox"},
		{"CriOS/", "Chrome"}, {"Chrome/", "Chrome"}, {"Safari/", "Safari"},
	})
	system := firstOf(agent, [][2]string{
		{"iPhone", "iPhone"}, {"iPad", "iPad"}, {"Android", "Android"}, {"Windows", "Windows"}, {"Mac OS X", "Mac"}, {"CrOS", "ChromeOS"}, {"Linux", "Linux"},
	})
	if browser == "" || system == "" {
		return browser + system
	}
	return browser + " · " + system
}

func firstOf(s string, list [][2]string) string {
	for _, one := range list {
		if strings.Contains(s, one[0]) {
			return one[1]
		}
	}
	return ""
}
