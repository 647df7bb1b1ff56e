// A code that came in the part of the address behind "#" is put into the field that asks for it, and taken out of the
// address and the history. Browsers never send that part, so the code is in no request but the one that posts it.
const field = document.querySelector("input[data-fragment]");
const code = decodeURIComponent(location.hash.slice(1));
if (field && /^[0-9A-Za-z _-]{4,200}$/.test(code) && !document.getElementById(code)) {
  field.value = code;
  history.replaceState(null, "", location.pathname + location.search);
  field.focus();
}
