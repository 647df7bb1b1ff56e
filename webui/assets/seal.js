// The browser's end of the sealed tunnel (appliance/sealed has the protocol). On plain http the claim and the first
// pairing travel inside it: the claim secret comes from the fragment of the sheet's QR code or from the code field,
// stays in this tab, and never crosses the network. The pages inside are the same plain forms that https serves.
import { chacha20poly1305, hkdf, sha256, x25519 } from "./noble.js";

const stored = "hearth-claim";
const invited = "hearth-invitation"; // of another box, which the address brought: it waits for the page that asks for it
let tunnel = null;

const encode = (b) => btoa(String.fromCharCode(...b)).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
const decode = (s) => Uint8Array.from(atob(s.replaceAll("-", "+").replaceAll("_", "/")), (c) => c.charCodeAt(0));

const bytes = (text) => new TextEncoder().encode(text);

function join(...parts) {
	const out = new Uint8Array(parts.reduce((n, p) => n + p.length, 0));
	let at = 0;
	for (const p of parts) {
		out.set(p, at);
		at += p.length;
	}
	return out;
}

class Refused extends Error {
	constructor(code, wait) {
		super(code);
		this.code = code;
		this.wait = wait;
	}
}

async function post(path, message) {
	let answer;
	try {
		answer = await fetch(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(message) });
	} catch {
		throw new Refused("lost");
	}
	const body = await answer.json().catch(() => ({ code: "lost" }));
	if (!answer.ok) throw new Refused(body.code, body.wait);
	return body;
}

// between is what may stand between letters or words, as the box reads them.
const between = /[\s\p{Pd},._]+/u;
const digits = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";

// normal reads the 16 characters as the box does: Crockford base32, O is 0, I and L are 1.
function normal(text) {
	const code = text.toUpperCase().split(between).join("").replaceAll("O", "0").replaceAll("I", "1").replaceAll("L", "1");
	return /^[0-9A-HJKMNP-TV-Z]{16}$/.test(code) ? code : "";
}

// fromWords reads the eight words of the sheet as the box does: 11 bits each, the 80 of the code before the first byte
// of their SHA-256. It returns the 16 characters, or "" for what is no eight words.
async function fromWords(text) {
	const words = text.toLowerCase().split(between).filter(Boolean);
	if (words.length !== 8) return "";
	const list = await fetch(new URL("words.txt", import.meta.url)).then((answer) => (answer.ok ? answer.text() : "")).catch(() => "");
	if (!list) throw new Refused("lost");
	const numbers = words.map((word) => list.trim().split("\n").indexOf(word));
	if (numbers.includes(-1)) throw new Refused("word");
	const all = numbers.reduce((bits, n) => (bits << 11n) | BigInt(n), 0n);
	let code = "";
	for (let rest = all >> 8n; code.length < 16; rest >>= 5n) code = digits[Number(rest & 31n)] + code;
	if (sha256(secretBytes(code))[0] !== Number(all & 255n)) throw new Refused("checksum");
	return code;
}

function secretBytes(code) {
	const out = new Uint8Array(10);
	let bits = 0, held = 0, at = 0;
	for (const c of code) {
		held = (held << 5) | digits.indexOf(c);
		bits += 5;
		if (bits >= 8) {
			bits -= 8;
			out[at++] = (held >> bits) & 255;
		}
		held &= (1 << bits) - 1;
	}
	return out;
}

async function open(code) {
	const psk = hkdf(sha256, secretBytes(code), undefined, bytes("hearth claim: sealed channel key, 1"), 32);
	const own = crypto.getRandomValues(new Uint8Array(32));
	const e = x25519.getPublicKey(own);
	const hello = await post("/sealed/hello", { v: 1, e: encode(e) });
	const id = decode(hello.id), theirs = decode(hello.e);
	const shared = x25519.getSharedSecret(own, theirs);
	const key = (direction) => hkdf(sha256, shared, psk, join(bytes("hearth sealed v1"), e, theirs, id, bytes(direction)), 32);
	return { id, n: 0, send: key("request"), receive: key("response") };
}

function nonce(n) {
	const b = new Uint8Array(12);
	new DataView(b.buffer).setUint32(8, n);
	return b;
}

// ask waits for the one before: the box takes requests in the order of their numbers.
let earlier = Promise.resolve();
function ask(method, path, form) {
	const t = tunnel;
	const answer = earlier.then(() => request(t, method, path, form));
	earlier = answer.catch(() => {});
	return answer;
}

async function request(t, method, path, form) {
	const n = ++t.n;
	const plain = bytes(JSON.stringify({ method, path, form: form || "", lang: document.documentElement.lang }));
	const { box } = await post("/sealed/request", { id: encode(t.id), n, box: encode(chacha20poly1305(t.send, nonce(n), t.id).encrypt(plain)) });
	return JSON.parse(new TextDecoder().decode(chacha20poly1305(t.receive, nonce(n), t.id).decrypt(decode(box))));
}

function say(code, wait) {
	const place = document.getElementById("seal-error");
	if (!place) return;
	const text = place.dataset[code] || place.dataset.lost;
	document.getElementById("seal").hidden = false;
	place.textContent = text.replace("{wait}", wait || "");
	place.hidden = false;
	document.getElementById("code")?.focus();
}

function save(page) {
	const link = document.createElement("a");
	const body = page.raw ? Uint8Array.from(atob(page.raw), (c) => c.charCodeAt(0)) : page.body;
	link.href = URL.createObjectURL(new Blob([body], { type: page.type }));
	link.download = page.name || page.path.split("?")[0].split("/").pop();
	link.click();
	setTimeout(() => URL.revokeObjectURL(link.href), 60000);
}

// show puts a page from inside the seal into the window. Each is a step of the history, at the address of the first
// page: what the browser asks the network for when it reloads is that one, and from there the sealed way is found again.
function show(page, back) {
	if (!page.type.startsWith("text/html")) {
		save(page);
		return;
	}
	if (!history.state?.sealed) history.replaceState({ sealed: page.path }, "");
	else if (!back && page.path !== history.state.sealed) history.pushState({ sealed: page.path }, "");
	const next = new DOMParser().parseFromString(page.body, "text/html");
	document.title = next.title;
	document.documentElement.lang = next.documentElement.lang;
	document.body.replaceWith(next.body);
	sessionStorage.setItem(stored + "-path", page.path);
	const asks = document.querySelector("[data-invitation]");
	if (asks && !asks.value) asks.value = sessionStorage.getItem(invited) || "";
	else if (!asks && page.path === "/claim/join") sessionStorage.removeItem(invited);
	scrollTo(0, 0);
	const first = document.querySelector("[autofocus]") || document.getElementById("main");
	if (first) first.focus();
	wait(page.path);
}

// wait asks for the page again while it says that it changes by itself, as htmx does where there is no seal.
let waiting;
function wait(path) {
	clearTimeout(waiting);
	if (!document.querySelector('[hx-trigger*="every"]')) return;
	waiting = setTimeout(async () => {
		try {
			const page = await ask("GET", path);
			const next = new DOMParser().parseFromString(page.body, "text/html");
			const mark = next.querySelector('[hx-trigger*="every"]')?.getAttribute("hx-get");
			if (mark === path.split("?")[0]) wait(path);
			else show(page);
		} catch (e) {
			trouble(e);
		}
	}, 4000);
}

async function go(method, path, form, back) {
	clearTimeout(waiting);
	try {
		show(await ask(method, path, form), back);
	} catch (e) {
		// A box that started again, or a session that was idle too long, does not know the tunnel any more. What was sent
		// has not been done; the page it was sent from comes again, through a new tunnel.
		if (e.code === "unknown") {
			return start(sessionStorage.getItem(stored), method === "GET" ? path : sessionStorage.getItem(stored + "-path"));
		}
		trouble(e);
	}
}

// leave ends the sealed way, and asks the network for the first page: it says which ways there are now.
function leave() {
	tunnel = null;
	clearTimeout(waiting);
	sessionStorage.removeItem(stored + "-path");
	location.assign("/");
}

// trouble says what went wrong. On a page from inside the seal there is no place for it: then the first page says it.
function trouble(e) {
	tunnel = null;
	const code = e.code || "lost";
	if (code === "wrong" || code === "over") {
		sessionStorage.removeItem(stored);
		sessionStorage.removeItem(stored + "-path");
	}
	if (document.getElementById("seal-error")) {
		say(code, e.wait);
		return;
	}
	sessionStorage.setItem(stored + "-trouble", code);
	location.assign("/");
}

async function start(code, path) {
	try {
		code = normal(code || "") || await fromWords(code || "");
		if (!code) {
			say("form");
			return;
		}
		tunnel = await open(code);
		const page = await ask("GET", path || (sessionStorage.getItem(invited) ? "/claim/join" : "/claim"));
		sessionStorage.setItem(stored, code);
		show(page);
	} catch (e) {
		trouble(e);
	}
}

document.addEventListener("submit", (event) => {
	const form = event.target;
	if (!tunnel) {
		if (form.id !== "seal") return;
		event.preventDefault();
		busy(event, start(new FormData(form).get("code")));
		return;
	}
	event.preventDefault();
	const target = new URL(event.submitter?.getAttribute("formaction") || form.getAttribute("action") || sessionStorage.getItem(stored + "-path"), location.href);
	for (const field of form.querySelectorAll("[data-zone]")) field.value = Intl.DateTimeFormat().resolvedOptions().timeZone || "";
	const fields = new URLSearchParams(new FormData(form, event.submitter));
	busy(event, form.method === "get" ? go("GET", target.pathname + "?" + fields) : go("POST", target.pathname + target.search, fields.toString()));
});

// busy says below the form that the box is at work, when that takes a while: here no browser turns its wheel. What was
// pressed cannot be pressed twice. It comes after the form was read, for a button that is off is not sent.
async function busy(event, work) {
	const button = event.submitter;
	const line = document.createElement("p");
	line.setAttribute("role", "status");
	event.target.append(line);
	if (button) button.disabled = true;
	const text = document.getElementById("main")?.dataset.busy || "";
	const later = setTimeout(() => (line.textContent = text), 400);
	await work;
	clearTimeout(later);
	line.remove();
	if (button) button.disabled = false;
}

document.addEventListener("click", (event) => {
	const link = event.target.closest?.("a[href]");
	if (!tunnel || !link || event.ctrlKey || event.metaKey || event.shiftKey) return;
	const target = new URL(link.getAttribute("href"), new URL(sessionStorage.getItem(stored + "-path") || "/", location.href));
	if (target.origin !== location.origin || link.getAttribute("href").startsWith("#")) return;
	event.preventDefault();
	if (target.pathname === "/" && !target.search) leave();
	else go("GET", target.pathname + target.search);
	const lang = target.searchParams.get("lang");
	if (lang) fetch("/?lang=" + lang).catch(() => {}); // the page outside, from which a reload starts, speaks it too
});

addEventListener("popstate", (event) => {
	if (tunnel && event.state?.sealed) go("GET", event.state.sealed, "", true);
});

const form = document.getElementById("seal");
if (form) form.hidden = false;
const hash = decodeURIComponent(location.hash.slice(1));
const fragment = normal(hash);
const invitation = /^hearth:box\?[\w-]{100,1000}$/.test(hash);
if (invitation) sessionStorage.setItem(invited, hash);
if (fragment || invitation) history.replaceState(null, "", location.pathname + location.search);
const code = fragment || sessionStorage.getItem(stored);
const before = sessionStorage.getItem(stored + "-trouble");
sessionStorage.removeItem(stored + "-trouble");
if (before) say(before);
else if (code) start(code, fragment || invitation ? "" : sessionStorage.getItem(stored + "-path"));
