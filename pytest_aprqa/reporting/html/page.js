"use strict";
(() => {
  const PAGE = 50;
  const FIELDS = ["outcome", "severity", "gate", "gateway", "playbook", "format", "backend", "part"];
  const DETAILS = [
    ["gate", "Gate"], ["claim", "Claim"], ["reason", "Reason"], ["observed", "Observed"], ["prompt", "Prompt"], ["output", "Output"],
    ["stderr", "Standard error"], ["advice", "What to do"], ["engine", "Engine"], ["severity", "Severity"],
    ["gateway", "Gateway or invariant"], ["playbook", "Playbook"],
  ];
  const entries = JSON.parse(document.getElementById("data").textContent);
  const texts = entries.map((entry) =>
    [entry.gate, entry.item, entry.reason, entry.claim, entry.prompt, entry.output, entry.stderr, entry.engine,
      (entry.observed || []).join(" ")].join("\n").toLowerCase());
  const search = document.getElementById("search");
  const body = document.querySelector("#entries tbody");
  const headings = Array.from(document.querySelectorAll("#entries thead th"));
  const form = document.getElementById("filters");
  const selects = Array.from(form.querySelectorAll("select"));
  const extra = {};
  let shown = [];
  let page = 0;

  // Controls, surrogates and the marks that reorder, hide or tag text: the set of hostile_text.py, less line ends.
  const INVISIBLE = new RegExp("[\\u0000-\\u0008\\u000b-\\u001f\\u007f-\\u009f\\u00ad\\u061c\\u180e\\u200b-\\u200f" +
    "\\u2028-\\u202e\\u2060-\\u206f\\ud800-\\udfff\\ufeff\\ufff9-\\ufffb\\ufffe\\uffff\\u{e0000}-\\u{e007f}]", "gu");
  const spelled = (character) => {
    const code = character.codePointAt(0);
    const digits = code.toString(16);
    if (code < 0x100) return "\\x" + digits.padStart(2, "0");
    return code < 0x10000 ? "\\u" + digits.padStart(4, "0") : "\\U" + digits.padStart(8, "0");
  };
  const visible = (text) => text.replace(/\r\n/g, "\n").replace(INVISIBLE, spelled);

  const element = (name, text, className) => {
    const made = document.createElement(name);
    if (text !== undefined) made.textContent = visible(text);
    if (className) made.className = className;
    return made;
  };

  for (const select of selects) {
    const counts = new Map();
    for (const entry of entries) {
      const value = entry[select.dataset.field];
      if (value !== undefined) counts.set(value, (counts.get(value) || 0) + 1);
    }
    for (const value of Array.from(counts.keys()).sort()) {
      const option = element("option", `${value} (${counts.get(value)})`);
      option.value = value;
      select.append(option);
    }
  }

  const wanted = () => {
    const fields = { ...extra };
    for (const select of selects) if (select.value) fields[select.dataset.field] = select.value;
    return Object.entries(fields);
  };

  const filter = () => {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const fields = wanted();
    shown = [];
    for (let index = 0; index < entries.length; index += 1) {
      const entry = entries[index];
      if (!fields.every(([name, value]) => (entry[name] || "") === value)) continue;
      if (!words.every((word) => texts[index].includes(word))) continue;
      shown.push(index);
    }
    page = 0;
    draw();
  };

  const detail = (entry) => {
    const row = element("tr", undefined, "detail");
    const cell = element("td");
    cell.colSpan = headings.filter((heading) => heading.offsetParent !== null).length;  // a narrow page hides some
    const list = element("dl");
    for (const [name, title] of DETAILS) {
      const value = entry[name];
      if (value === undefined) continue;
      list.append(element("dt", title));
      const text = element("dd");
      if (name === "output" || name === "stderr" || name === "prompt" || name === "observed") {
        const block = element("pre", Array.isArray(value) ? value.join("\n") : value);
        block.tabIndex = 0;
        text.append(block);
      } else text.textContent = visible(value);
      list.append(text);
    }
    cell.append(list);
    row.append(cell);
    return row;
  };

  const toggle = (button, row, entry) => {
    const open = button.getAttribute("aria-expanded") === "true";
    button.setAttribute("aria-expanded", String(!open));
    if (open) row.nextElementSibling.remove();
    else row.after(detail(entry));
  };

  const draw = () => {
    const pages = Math.max(1, Math.ceil(shown.length / PAGE));
    page = Math.min(Math.max(page, 0), pages - 1);
    const rows = document.createDocumentFragment();
    for (const index of shown.slice(page * PAGE, (page + 1) * PAGE)) {
      const entry = entries[index];
      const row = element("tr");
      const button = element("button", entry.item);
      button.type = "button";
      button.setAttribute("aria-expanded", "false");
      button.addEventListener("click", () => toggle(button, row, entry));
      const item = element("td");
      item.append(button);
      const gate = element("td", undefined, "gate");
      gate.append(element("code", entry.gate));
      row.append(element("td", entry.outcome, entry.outcome.toLowerCase()), gate, item,
        element("td", entry.reason || "", "reason"), element("td", String(entry.ms || 0), "number"));
      rows.append(row);
    }
    body.replaceChildren(rows);
    const all = entries.length;
    document.getElementById("found").textContent =
      shown.length === all ? `${all} entries` : `${shown.length} of ${all} entries`;
    document.getElementById("page").textContent = `Page ${page + 1} of ${pages}`;
    document.getElementById("previous").disabled = page === 0;
    document.getElementById("next").disabled = page === pages - 1;
  };

  const turn = (step) => {
    const inside = body.contains(document.activeElement);
    page += step;
    draw();
    if (inside && body.querySelector("button")) body.querySelector("button").focus();
  };

  const walk = (step) => {
    const buttons = Array.from(body.querySelectorAll("button"));
    const at = buttons.indexOf(document.activeElement);
    const next = buttons[at + step];
    if (at >= 0 && next) next.focus();
    return at >= 0;
  };

  const clear = () => {
    for (const name of Object.keys(extra)) delete extra[name];
    search.value = "";
    for (const select of selects) select.value = "";
  };

  const follow = () => {
    const hash = window.location.hash;
    if (!hash.startsWith("#show:")) return;
    clear();
    for (const [name, value] of new URLSearchParams(hash.slice(6))) {
      if (!FIELDS.includes(name)) continue;
      const select = selects.find((one) => one.dataset.field === name);
      if (select && Array.from(select.options).some((option) => option.value === value)) select.value = value;
      else extra[name] = value;
    }
    filter();
    document.getElementById("evidence").scrollIntoView();
    document.getElementById("search").focus({ preventScroll: true });
  };

  let waiting = 0;
  search.addEventListener("input", () => { window.clearTimeout(waiting); waiting = window.setTimeout(filter, 60); });
  for (const select of selects) select.addEventListener("change", filter);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", (event) => { event.preventDefault(); clear(); filter(); });
  document.getElementById("previous").addEventListener("click", () => turn(-1));
  document.getElementById("next").addEventListener("click", () => turn(1));
  window.addEventListener("hashchange", follow);
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const typing = ["INPUT", "SELECT", "TEXTAREA"].includes(event.target.tagName);
    if (event.key === "/" && !typing) { event.preventDefault(); search.focus(); }
    else if (event.key === "n" && !typing) turn(1);
    else if (event.key === "p" && !typing) turn(-1);
    else if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      if (walk(event.key === "ArrowDown" ? 1 : -1)) event.preventDefault();
    } else if (event.key === "Escape") {
      for (const button of body.querySelectorAll('button[aria-expanded="true"]')) {
        button.click();
        button.focus();
      }
    }
  });
  filter();
  follow();
})();
