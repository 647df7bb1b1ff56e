// A code that came in the part of the address behind "#" is put into the field that asks for it, and taken out of the
// address and the history. Browsers never send that part, so the code is in no request but the one that posts it.
const field = document.querySelector("input[data-fragment]");
const code = decodeURIComponent(location.hash.slice(1));
// The invitation of another box waits in this tab for the page that asks for it: the claim code comes first.
if (/^hearth:box\?[\w-]{100,1000}$/.test(code)) {
  sessionStorage.setItem("hearth-invitation", code);
  history.replaceState(null, "", location.pathname + location.search);
}
const invitation = document.querySelector("[data-invitation]");
if (invitation && !invitation.value) invitation.value = sessionStorage.getItem("hearth-invitation") || "";
if (field && /^[0-9A-Za-z _-]{4,200}$/.test(code) && !document.getElementById(code)) {
  field.value = code;
  history.replaceState(null, "", location.pathname + location.search);
  // Where the page has another face for who came by a link, the code is not shown: there is nothing to do with it.
  const linked = document.querySelectorAll("[data-linked]");
  for (const e of linked) e.textContent = e.dataset.linked;
  if (linked.length) for (const e of document.querySelectorAll("[data-typed]")) e.hidden = true;
  (linked.length ? field.form.querySelector("button") : field).focus();
}
