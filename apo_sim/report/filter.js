/* Filters, sorts and searches the claims. Without it, the page shows all of them in order. */
(() => {
  const by = (id) => document.getElementById(id);
  const rows = [...document.querySelectorAll(".ledger .row")];
  const home = rows.map((row) => row.parentElement);
  const claims = rows.map((row) => {
    const entry = by(row.dataset.claim);
    const erratum = document.querySelector(`.errata [data-claim="${row.dataset.claim}"]`);
    const parts = [row, entry, erratum].filter(Boolean);
    const words = parts.map((part) => part.textContent).join(" ").toLowerCase().replace(/\s+/g, " ");
    return { row, parts, words, bare: words.replaceAll(" ", "") };
  });
  const order = { verdict: [...by("by-verdict").options].map((option) => option.value) };

  const matches = ({ row, words, bare }) => {
    const verdict = by("by-verdict").value, source = by("by-source").value;
    const method = by("by-method").value;
    return (!verdict || row.dataset.verdict === verdict)
      && (!source || row.dataset.source === source)
      && (!method || row.dataset.methods.split("|").includes(method))
      /* A formula is text without spaces; a claim is found by its words in any order. */
      && by("find").value.toLowerCase().split(/\s+/).every((w) => words.includes(w) || bare.includes(w));
  };

  const filter = () => {
    let shown = 0;
    for (const claim of claims) {
      const found = matches(claim);
      shown += found;
      for (const part of claim.parts) part.hidden = !found;
    }
    /* A heading without anything below it goes, too. */
    for (const group of document.querySelectorAll(".ledger tbody"))
      group.hidden = ![...group.querySelectorAll(".row")].some((row) => !row.hidden);
    for (const section of document.querySelectorAll(".of-claims"))
      section.hidden = ![...section.querySelectorAll("article, .errata > li")].some((part) => !part.hidden);
    by("shown").textContent = `${shown} of ${claims.length} ${claims.length === 1 ? "claim" : "claims"} shown`;
    by("clear").disabled = shown === claims.length && !by("order").value;
  };

  const number = (row, name) => (name in row.dataset ? Number(row.dataset[name]) : null);
  const compare = {
    title: (a, b) => a.querySelector(".title a").textContent.localeCompare(b.querySelector(".title a").textContent),
    verdict: (a, b) => order.verdict.indexOf(a.dataset.verdict) - order.verdict.indexOf(b.dataset.verdict),
    measured: (a, b) => known(a, b, "measured", 1),
    ratio: (a, b) => known(a, b, "ratio", -1),
    time: (a, b) => known(a, b, "time", -1),
  };
  /* Claims that have no such number come last, whichever the direction. */
  const known = (a, b, name, sign) => {
    const x = number(a, name), y = number(b, name);
    return x === null || y === null ? (x === null) - (y === null) : sign * (x - y);
  };

  const sort = () => {
    const chosen = by("order").value;
    document.querySelector(".ledger").classList.toggle("sorted", Boolean(chosen));
    if (chosen) home[0]?.append(...[...rows].sort(compare[chosen]));
    else rows.forEach((row, i) => home[i].append(row));
    filter();
  };

  const clear = () => {
    for (const id of ["find", "by-verdict", "by-source", "by-method", "order"]) by(id).value = "";
    sort();
  };

  /* A link to a claim that is filtered out shows it. */
  const follow = () => {
    const target = by(decodeURIComponent(location.hash.slice(1)));
    if (target?.closest("[hidden]")) { clear(); target.scrollIntoView(); }
  };

  /* On paper all that can be opened is open. */
  let opened = [];
  addEventListener("beforeprint", () => {
    opened = [...document.querySelectorAll("details:not([open])")];
    for (const part of opened) part.open = true;
  });
  addEventListener("afterprint", () => { for (const part of opened) part.open = false; });

  by("filter").hidden = false;
  by("find").addEventListener("input", filter);
  for (const id of ["by-verdict", "by-source", "by-method"]) by(id).addEventListener("change", filter);
  by("order").addEventListener("change", sort);
  by("clear").addEventListener("click", () => { clear(); by("find").focus(); });
  addEventListener("hashchange", follow);
  sort();
  follow();
})();
