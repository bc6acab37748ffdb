// Sentences and candidates as salt_fairseq/pages/candidates.py packs them. Rows are made for one page of examples at a time;
// a slider changes words and colours of what is shown, not its layout.
{
  const $ = (id) => document.getElementById(id);
  const count = new Intl.NumberFormat("en");
  let info, lengths, starts, tokens, languages, texts = null; // texts: of all sentences, in lower case, for the search
  let matches = [], page = 0, cells = [], active = null;

  function make(tag, properties = {}, ...children) {
    const element = Object.assign(document.createElement(tag), properties);
    element.append(...children);
    return element;
  }

  async function unpacked(id) {
    const packed = $(id).textContent;
    $(id).remove();
    const bytes = Uint8Array.fromBase64?.(packed) ?? Uint8Array.from(atob(packed), (character) => character.charCodeAt(0));
    return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip")));
  }

  async function load() {
    info = await (await unpacked("description")).json();
    const buffer = await (await unpacked("arrays")).arrayBuffer();
    let offset = 0;
    const take = (type, length) => new type(buffer, (offset += 4 * length) - 4 * length, length);
    lengths = take(Uint32Array, info.targets.length * info.sides);
    starts = new Uint32Array(lengths.length + 1);
    lengths.forEach((length, i) => (starts[i + 1] = starts[i] + length));
    tokens = take(Uint32Array, starts[lengths.length]);
    languages = info.languages.map((language, i) => ({
      ...language,
      ids: take(Uint32Array, tokens.length), // 0: no candidate
      hue: Math.round(25 + (360 * i) / info.languages.length) % 360,
      kind: language.start[0],
      position: language.start[1],
      shown: true,
    }));
    for (const language of languages) {
      language.logProbs = new Float32Array(tokens.length).fill(-Infinity);
      const candidates = language.ids.filter((id) => id).length;
      const given = take(Float32Array, candidates);
      for (let t = 0, k = 0; k < candidates; t++) if (language.ids[t]) language.logProbs[t] = given[k++];
    }
  }

  // ---- thresholds

  const names = new Intl.DisplayNames("en", { type: "language" });
  const named = (code) => (/^[a-z]{2,3}(-\w{2,8})*$/i.test(code) ? names.of(code) : code);
  const chosen = (language) => language.positions[language.kind][language.position];
  const threshold = (language) => chosen(language)[1] ?? Infinity;
  const percent = (part, whole) => `${((100 * part) / Math.max(1, whole)).toFixed(1)} %`;

  function substituted(language) { // tokens of the examples on this page
    const least = threshold(language);
    let n = 0;
    for (const value of language.logProbs) n += value >= least;
    return n;
  }

  function addCard(language) {
    const card = $("card").content.cloneNode(true).firstElementChild;
    const [visible, kind, slider] = [card.querySelector("[type=checkbox]"), card.querySelector("select"), card.querySelector("[type=range]")];
    card.classList.add("tinted");
    card.style.setProperty("--hue", language.hue);
    card.querySelector(".name").textContent = named(language.code);
    kind.setAttribute("aria-label", `${named(language.code)}: kind of threshold`);
    slider.setAttribute("aria-label", `${named(language.code)}: threshold`);
    slider.dataset.language = card.dataset.language = language.code;
    language.card = card;
    visible.addEventListener("change", () => {
      language.shown = visible.checked;
      render();
    });
    kind.addEventListener("change", () => { // to the threshold of the other kind that substitutes most nearly as much
      const before = chosen(language)[2];
      language.kind = kind.value;
      const distances = language.positions[kind.value].map((position) => Math.abs(position[2] - before));
      language.position = distances.indexOf(Math.min(...distances));
      showThreshold(language);
    });
    slider.addEventListener("input", () => showThreshold(Object.assign(language, { position: Number(slider.value) })));
    $("languages").append(card);
    showThreshold(language);
  }

  function showThreshold(language) {
    const { card, kind, position, total } = language;
    const [text, , tokensOfSubset] = chosen(language);
    const slider = card.querySelector("[type=range]");
    card.querySelector("select").value = kind;
    slider.max = language.positions[kind].length - 1;
    slider.value = position;
    slider.setAttribute("aria-valuetext", `${kind} ${text}, ${percent(tokensOfSubset, total)} substituted`);
    card.querySelector("output").textContent = kind === "probability" ? `≥ ${text}` : text;
    const here = info.subset === info.targets.length ? "" : `; on this page ${count.format(substituted(language))}`;
    card.querySelector(".count").replaceChildren(
      make("b", { textContent: percent(tokensOfSubset, total) }),
      ` substituted: ${count.format(tokensOfSubset)} of ${count.format(total)}${here}`,
    );
    drawDistribution(language);
    $("option").textContent = `--thresholds ${languages.map((other) => `${other.code}=${chosen(other)[0]}`).join(",")}`;
    paint(language);
    if (active) showDetails(active);
  }

  // Probabilities: how many candidates lie between one position and the next. Fractions: the probability at each position.
  function drawDistribution({ card, kind, position, positions }) {
    const steps = positions[kind], svg = card.querySelector("svg");
    if (svg.dataset.kind !== kind) {
      svg.dataset.kind = kind;
      const lowest = 1.05 * Math.min(-1, steps.at(-1)[1]);
      const heights = steps.map(([, value, n], i) => (kind === "probability" ? n - (steps[i + 1]?.[2] ?? 0) : (value ?? steps[1][1] ?? 0) - lowest));
      const highest = Math.max(1e-9, ...heights);
      const bar = (height, i) => `<rect x="${i + 0.1}" y="${1 - height / highest}" width="0.8" height="${height / highest}"/>`;
      svg.setAttribute("viewBox", `0 0 ${steps.length} 1`);
      svg.innerHTML = heights.map(bar).join("");
    }
    [...svg.children].forEach((bar, i) => bar.classList.toggle("on", kind === "probability" ? i >= position : i <= position));
  }

  // ---- examples

  const word = (number) => info.words[number].trim();
  const measure = (() => {
    const context = document.createElement("canvas").getContext("2d");
    context.font = `600 ${getComputedStyle(document.documentElement).font.replace(/^\S+ (?=\d)/, "")}`;
    const widths = new Map();
    return (text) => widths.get(text) ?? widths.set(text, context.measureText(text).width).get(text);
  })();

  // A column: a token, and the punctuation and word parts after it that have no candidates.
  function columnsOf(sentence) {
    const columns = [];
    for (let token = starts[sentence]; token < starts[sentence + 1]; token++) {
      const text = info.words[tokens[token]], joined = !text.startsWith(" ");
      if (joined && columns.length && languages.every(({ ids }) => !ids[token])) columns.at(-1).suffix += text;
      else columns.push({ token, sentence, joined: joined && columns.length > 0, suffix: "" });
    }
    const shown = languages.filter((language) => language.shown);
    for (const column of columns) {
      const words = [tokens[column.token], ...shown.map(({ ids }) => ids[column.token])].map(word);
      column.width = Math.max(...words.map(measure)) + measure(column.suffix) + 14;
    }
    return columns;
  }

  function table(columns, name, codes) {
    const rows = [undefined, ...languages.filter((language) => language.shown)].map((language) => {
      const row = make("tr", { className: language ? "variant tinted" : "" });
      if (language) row.style.setProperty("--hue", language.hue);
      row.append(make("th", { scope: "row", textContent: language?.code ?? info.source }));
      for (const column of columns) {
        const cell = make("td", { tabIndex: -1, className: column.joined ? "joined" : "" }, make("bdi"), make("span", { textContent: column.suffix }));
        cells.push(Object.assign(cell, { column, language }));
        cell.classList.toggle("long", column.width > 240);
        row.append(cell);
      }
      return row;
    });
    const element = make("table", { className: "block" }, make("tbody", {}, ...rows));
    element.setAttribute("role", "grid");
    element.setAttribute("aria-label", name);
    element.dir = info.rightToLeft.includes(info.source.split("-")[0]) ? "rtl" : "ltr";
    element.style.setProperty("--codes", `${codes}px`);
    columns.forEach((column, i) => (rows[0].cells[i + 1].style.width = `${column.width}px`)); // whatever is substituted
    return element;
  }

  function article(example, width, codes) {
    const label = info.labels[info.targets[example]];
    const heading = make("header", {}, make("h2", { textContent: `id ${info.ids[example]}` }), make("span", { className: "label", textContent: label }));
    const element = make("article", {}, heading);
    for (let side = 0; side < info.sides; side++) {
      const sentence = make("div", { className: "sentence" });
      let block = [], free = width - codes;
      const finish = () => block.length && sentence.append(table(block, `${info.ids[example]}, sentence ${side + 1}`, codes));
      for (const column of columnsOf(example * info.sides + side)) {
        if (column.width > free && block.length) {
          finish();
          [block, free] = [[], width - codes];
        }
        block.push(column);
        free -= column.width;
      }
      finish();
      element.append(sentence);
    }
    return element;
  }

  function paint(language) { // undefined: the originals
    const least = language && threshold(language);
    for (const cell of cells) {
      const token = cell.column.token, on = language?.logProbs[token] >= least, bdi = cell.firstChild;
      if (cell.language !== language || cell.on === on) continue;
      cell.on = on;
      bdi.textContent = word(on ? language.ids[token] : tokens[token]);
      bdi.lang = on ? language.code : info.source;
      bdi.className = on ? "on" : "";
      if (on) bdi.style.setProperty("--strength", Math.max(0, 1 + language.logProbs[token] / 16).toFixed(2)); // e^-16: 1e-7
    }
  }

  function render() {
    const size = Number($("size").value), last = Math.max(0, Math.ceil(matches.length / size) - 1);
    page = Math.min(page, last);
    hideDetails();
    cells = [];
    const codes = Math.max(...[info.source, ...languages.map(({ code }) => code)].map(measure)) + 6;
    const probe = $("examples").appendChild(make("article"));
    const style = getComputedStyle(probe), width = probe.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight) - 4;
    $("examples").replaceChildren(...matches.slice(page * size, (page + 1) * size).map((example) => article(example, width, codes)));
    [undefined, ...languages].forEach(paint);
    markHits();
    if (cells.length) cells[0].tabIndex = 0;
    const from = matches.length ? page * size + 1 : 0;
    $("status").textContent = matches.length
      ? `${count.format(from)}–${count.format(Math.min(matches.length, from + size - 1))} of ${count.format(matches.length)} examples`
      : "No example matches: change the search or the label.";
    for (const nav of document.querySelectorAll(".pages")) {
      nav.querySelector(".previous").disabled = page === 0;
      nav.querySelector(".next").disabled = page === last;
      nav.querySelector("span").textContent = `${count.format(page + 1)} / ${count.format(last + 1)}`;
    }
  }

  // ---- search

  const query = () => $("query").value.trim().toLowerCase();

  function wordsWith(text) { // Uint8Array (words,): 1 where the word contains the text
    return Uint8Array.from(info.words, (other) => Number(other.trim().toLowerCase().includes(text)));
  }

  function select() {
    const text = query(), label = $("label").value;
    const examples = Array.from(info.targets.keys()).filter((i) => label === "" || info.targets[i] === Number(label));
    if (text) {
      const textOf = (i) => Array.from(tokens.subarray(starts[i], starts[i + 1]), (number) => info.words[number]).join("");
      texts ??= Array.from(lengths, (_, i) => textOf(i).trim().toLowerCase());
      const flags = wordsWith(text), shown = languages.filter((language) => language.shown);
      matches = examples.filter((i) => {
        const [first, end] = [i * info.sides, (i + 1) * info.sides];
        if (info.ids[i].toLowerCase().includes(text)) return true;
        for (let s = first; s < end; s++) if (texts[s].includes(text)) return true;
        for (const { ids } of shown) for (let t = starts[first]; t < starts[end]; t++) if (flags[ids[t]]) return true;
        return false;
      });
    } else matches = examples;
    page = 0;
    render();
  }

  function markHits() {
    const text = query();
    if (!text) return;
    const flags = wordsWith(text);
    for (const { column, language, classList } of cells) {
      const id = language ? language.ids[column.token] : tokens[column.token];
      classList.toggle("hit", Boolean(flags[id]));
    }
  }

  // ---- details of a word

  const probability = (logProb) => {
    const p = Math.exp(logProb);
    return p >= 0.001 ? p.toPrecision(2) : p.toExponential(1);
  };

  function showDetails(cell) {
    const { column: { token, sentence }, language: current } = cell;
    for (const other of cells) other.classList.toggle("active", other.column.token === token);
    if (active && active !== cell) active.removeAttribute("aria-describedby");
    active = cell;
    cell.setAttribute("aria-describedby", "details");
    const position = make("small", {}, `token ${token - starts[sentence] + 1} of ${lengths[sentence]}`);
    const heading = make("h3", {}, make("bdi", { textContent: word(tokens[token]), lang: info.source }), " ", position);
    const rows = languages.filter(({ ids }) => ids[token]).map((language) => {
      const on = language.logProbs[token] >= threshold(language);
      const row = make("tr", { className: `tinted ${on ? "" : "kept"} ${language === current ? "current" : ""}` });
      const candidate = make("bdi", { textContent: word(language.ids[token]), lang: language.code });
      row.append(make("th", { scope: "row", textContent: language.code }), make("td", { className: "word" }, candidate));
      row.append(make("td", {}, probability(language.logProbs[token])), make("td", {}, on ? "substituted" : "below the threshold"));
      row.style.setProperty("--hue", language.hue);
      return row;
    });
    const body = rows.length ? make("table", {}, make("tbody", {}, ...rows)) : make("p", { className: "lead", textContent: "No candidates at this token." });
    const details = $("details");
    details.replaceChildren(heading, body);
    details.hidden = false;
    const box = cell.getBoundingClientRect(), block = cell.closest("table").getBoundingClientRect();
    const below = block.bottom + details.offsetHeight + 8 < innerHeight || block.top < details.offsetHeight + 8;
    details.style.top = `${scrollY + (below ? block.bottom : block.top - details.offsetHeight - 4)}px`;
    details.style.left = `${Math.max(8, Math.min(box.left, document.documentElement.clientWidth - details.offsetWidth - 8))}px`;
  }

  function hideDetails() {
    $("details").hidden = true;
    active?.removeAttribute("aria-describedby");
    for (const cell of cells) cell.classList.remove("active");
    active = null;
  }

  function moveFocus(event) {
    const cell = event.target.closest("td");
    if (!cell || !(event.key.startsWith("Arrow") || event.key === "Home" || event.key === "End")) return;
    const row = cells.filter((other) => other.language === cell.language);
    const place = row.indexOf(cell), sentence = row.filter((other) => other.column.sentence === cell.column.sentence);
    const stack = cells.filter((other) => other.column === cell.column), level = stack.indexOf(cell);
    const back = getComputedStyle(cell).direction === "rtl" ? "ArrowRight" : "ArrowLeft";
    const vertical = { ArrowUp: stack[level - 1], ArrowDown: stack[level + 1], Home: sentence[0], End: sentence.at(-1) };
    const target = event.key in vertical ? vertical[event.key] : row[place + (event.key === back ? -1 : 1)];
    event.preventDefault();
    target?.focus();
  }

  // ---- events

  function addEvents() {
    document.addEventListener("click", ({ target }) => {
      if (!target.matches(".previous, .next")) return;
      page += target.matches(".next") ? 1 : -1;
      render();
      if (target.closest(".below")) $("examples").scrollIntoView();
    });
    info.labels.forEach((label, i) => $("label").append(make("option", { value: i, textContent: label })));
    $("label").addEventListener("change", select);
    $("query").addEventListener("input", select);
    $("size").addEventListener("change", render);
    $("copy").addEventListener("click", () => navigator.clipboard?.writeText($("option").textContent));
    const examples = $("examples");
    examples.addEventListener("mouseover", (event) => event.target.closest("td") && showDetails(event.target.closest("td")));
    examples.addEventListener("mouseleave", (event) => $("details").contains(event.relatedTarget) || hideDetails());
    examples.addEventListener("focusin", (event) => {
      const cell = event.target.closest("td");
      for (const other of cells) other.tabIndex = other === cell ? 0 : -1;
      showDetails(cell);
    });
    examples.addEventListener("focusout", hideDetails);
    examples.addEventListener("keydown", moveFocus);
    document.addEventListener("keydown", (event) => event.key === "Escape" && hideDetails());
    let width = innerWidth;
    addEventListener("resize", () => {
      if (innerWidth !== width) requestAnimationFrame(render);
      width = innerWidth;
    });
  }

  load().then(
    () => {
      addEvents();
      languages.forEach(addCard);
      select();
    },
    (error) => ($("status").textContent = `This page's sentences cannot be unpacked (${error.message}): open it in a current browser.`),
  );
}
