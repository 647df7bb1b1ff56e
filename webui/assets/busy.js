// A form that was sent says so when its answer takes a while, and cannot be sent twice. Without scripts the browser's own
// wheel says it. What was sent is over when the next page comes, when this one comes back out of the browser's memory,
// or after half a minute, so that a load that was stopped can be tried again.
const text = document.getElementById("main")?.dataset.busy || "";
let over = () => {};

document.addEventListener("submit", (event) => {
  const form = event.target;
  if (event.defaultPrevented || form.method !== "post") return;
  if (form.getAttribute("aria-busy")) {
    event.preventDefault();
    return;
  }
  for (const field of form.querySelectorAll("[data-zone]")) field.value = Intl.DateTimeFormat().resolvedOptions().timeZone || "";
  over();
  const button = event.submitter;
  const line = document.createElement("p");
  line.setAttribute("role", "status");
  const table = form.closest("table");
  if (table) table.after(line);
  else form.append(line);
  form.setAttribute("aria-busy", "true");
  button?.setAttribute("aria-disabled", "true"); // not disabled: that would take the focus away
  const later = setTimeout(() => (line.textContent = text), 400);
  const end = setTimeout(() => over(), 30000);
  over = () => {
    clearTimeout(later);
    clearTimeout(end);
    line.remove();
    form.removeAttribute("aria-busy");
    button?.removeAttribute("aria-disabled");
    over = () => {};
  };
});

// Another language keeps what stands behind "#", and a code that was taken from there: no browser sends either.
document.addEventListener("click", (event) => {
  const link = event.target.closest?.(".langs a");
  if (!link) return;
  const code = document.querySelector("input[data-fragment]")?.value;
  link.hash = code ? encodeURIComponent(code) : location.hash;
});

addEventListener("pageshow", (event) => {
  if (event.persisted) over();
});
