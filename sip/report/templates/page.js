"use strict";
(() => {
  const root = document.documentElement;
  document.getElementById("theme").addEventListener("click", () => {
    const dark = root.dataset.theme
      ? root.dataset.theme === "dark"
      : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
  });

  const data = JSON.parse(document.getElementById("data").textContent);
  const images = data.images;
  const cards = document.getElementById("cards");
  if (!cards) return;
  const viewer = document.getElementById("viewer");
  const strip = document.getElementById("strip");
  const opening = []; // the images of the strip
  let shown = []; // what the filters leave
  let series = []; // what the viewer steps through
  let current = -1; // position in it
  let view = "spread";

  // Every text goes in as text: nothing of the data is ever read as HTML.
  function element(name, options, ...children) {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(options || {})) {
      if (value === undefined || value === null) continue;
      if (key === "class") made.className = value;
      else if (key === "onclick") made.addEventListener("click", value);
      else made.setAttribute(key, value);
    }
    made.append(...children.filter((child) => child !== null && child !== undefined));
    return made;
  }

  function image(key, alt) {
    const source = data.sources[key];
    if (!source) return element("div", { class: "nothing", role: "img", "aria-label": alt }, "no image");
    const image = element("img", { class: "image", alt, src: source });
    image.addEventListener("load", () => {
      if (Math.max(image.naturalWidth, image.naturalHeight) <= 96) image.classList.add("small");
    });
    return image;
  }

  const number = (value, digits) =>
    value === null || value === undefined ? "–" : value.toFixed(digits).replace("-", "−");
  const plain = (value) => (value === null || value === undefined || value === "" ? "–" : String(value));
  const reason = (one) => [one.status, one.reason].filter(Boolean).join(": ");

  function card(one, position) {
    const left = one.status !== "ok";
    const similarity = one.label_similarity === null ? "" : number(one.label_similarity, 2);
    return element(
      "li",
      {},
      element(
        "button",
        {
          type: "button",
          class: left ? "card left-out" : "card",
          "aria-haspopup": "dialog",
          onclick: () => open(shown, position),
        },
        element(
          "div",
          { class: "pair" },
          image(one.original, `original, ${one.source_class_name ?? one.class_name}`),
          image(one.generated, `${one.kind}, ${one.class_name}`),
        ),
        element(
          "div",
          { class: "words" },
          element("b", {}, title(one)),
          element("span", { title: "similarity to the label" }, similarity),
        ),
        element("small", {}, made(one)),
        left ? element("span", { class: "badge" }, reason(one)) : null,
      ),
    );
  }

  // What decided the image; null played no part in it.
  function made(one) {
    const parts = one.kind === "generated" ? [] : [one.kind];
    if (one.noise_rate !== null) parts.push(`noise ${plain(one.noise_rate)}`);
    if (one.guidance_scale !== null) parts.push(`guidance ${number(one.guidance_scale, 1)}`);
    return parts.join(" · ");
  }

  function fact(name, value, wide) {
    return element(
      "div",
      wide ? { class: "wide" } : {},
      element("dt", {}, name),
      element("dd", {}, value instanceof Node ? value : plain(value)),
    );
  }

  // Of an image that is to show another class than its original's: both.
  function title(one) {
    return one.source_class_name ? `${one.source_class_name} to ${one.class_name}` : one.class_name;
  }

  function label(one) {
    if (!one.source_class_name) return one.class_name;
    const share = one.label_share;
    return `${number(share, 2)} ${one.class_name}, ${number(1 - share, 2)} ${one.source_class_name}`;
  }

  function prompt(one) {
    const line = element("p", { class: "prompt" });
    for (const [text, weight] of one.spans) {
      if (weight === 1) {
        line.append(text);
        continue;
      }
      const lead = text.length - text.trimStart().length;
      line.append(
        text.slice(0, lead),
        element(
          "span",
          { class: weight > 1 ? "span more" : "span less", title: `weight ${weight}` },
          text.slice(lead),
          element("sup", {}, weight.toFixed(2)),
        ),
      );
    }
    return one.spans.length ? line : element("p", { class: "note" }, "no prompt recorded");
  }

  function candidates(one) {
    const list = element("ul", { class: "candidates" });
    const best = Math.max(...one.candidates.map(([, value]) => value), 0.01);
    for (const [text, value] of [...one.candidates].sort((a, b) => b[1] - a[1])) {
      const fill = element("i");
      fill.style.width = `${Math.max(0, (100 * value) / best)}%`;
      const kept = text === one.caption;
      list.append(
        element(
          "li",
          kept ? { class: "kept" } : {},
          element("span", {}, kept ? `${text} (kept)` : text),
          element("span", { class: "value" }, number(value, 3)),
          element("span", { class: "bar" }, fill),
        ),
      );
    }
    return one.candidates.length ? list : element("p", { class: "note" }, "no captions were scored");
  }

  function open(list, position) {
    series = list;
    current = position;
    const one = list[position];
    const step = (by, label, text) =>
      element("button", { type: "button", "aria-label": label, onclick: () => move(by) }, text);
    viewer.replaceChildren(
      element(
        "div",
        { class: "viewer-head" },
        element("h2", { id: "viewer-title" }, title(one)),
        step(-1, "Previous image", "←"),
        step(1, "Next image", "→"),
        element("button", { type: "button", id: "close", onclick: () => viewer.close() }, "Close"),
      ),
      element(
        "div",
        { class: "viewer-body" },
        element(
          "div",
          {},
          element(
            "div",
            { class: "both" },
            element("figure", {}, image(one.original, "original"), element("figcaption", {}, `original ${one.sample_id}`)),
            element("figure", {}, image(one.generated, one.kind), element("figcaption", {}, `${one.kind}, variant ${one.variant}`)),
          ),
          one.status === "ok"
            ? null
            : element("p", {}, element("span", { class: "badge" }, reason(one)), " ", plain(one.error)),
          element("h3", {}, "What the scorer says"),
          element(
            "dl",
            { class: "facts" },
            fact("similarity to the label", number(one.label_similarity, 3)),
            fact("to the caption", number(one.caption_similarity, 3)),
            fact("distance to the original", number(one.original_distance, 3)),
            fact("zero-shot class", one.zero_shot),
          ),
        ),
        element(
          "div",
          {},
          element("h3", {}, "Prompt"),
          prompt(one),
          element("h3", {}, "Candidate captions"),
          candidates(one),
          element("h3", {}, `How it was ${one.kind}`),
          element(
            "dl",
            { class: "facts" },
            fact("label", label(one)),
            fact("guidance scale", number(one.guidance_scale, 2)),
            fact("noise rate", plain(one.noise_rate)),
            fact("U-Net evaluations", one.unet_evaluations),
            fact("seed", one.seed),
            fact("negative prompt", one.negative_prompt),
            fact("arms", one.arms.join(", "), true),
            fact("image", element("code", {}, one.id), true),
            fact("runs", element("code", {}, one.runs.join(", ")), true),
          ),
        ),
      ),
    );
    if (!viewer.open) viewer.showModal();
    viewer.scrollTop = 0;
  }

  function move(by) {
    open(series, (current + by + series.length) % series.length);
    document.getElementById("close").focus();
  }

  viewer.addEventListener("keydown", (event) => {
    if (event.key === "ArrowLeft") move(-1);
    if (event.key === "ArrowRight") move(1);
  });
  viewer.addEventListener("click", (event) => {
    if (event.target === viewer) viewer.close();
  });
  viewer.addEventListener("close", () => {
    const container = series === opening ? strip : cards;
    const item = container.children[current];
    (item?.querySelector("button") || item)?.focus({ preventScroll: true });
  });

  const selects = {
    class: document.getElementById("by-class"),
    arm: document.getElementById("by-arm"),
    status: document.getElementById("by-status"),
  };
  const values = {
    class: (one) => [one.class_name],
    arm: (one) => one.arms,
    status: (one) => [one.status],
  };
  const order = document.getElementById("order");

  for (const [name, select] of Object.entries(selects)) {
    const known = [...new Set(images.flatMap(values[name]))];
    select.append(element("option", { value: "" }, "all"));
    known.forEach((value) => select.append(element("option", { value }, value)));
    select.closest("label").hidden = known.length < 2;
    select.addEventListener("change", show);
  }
  order.addEventListener("change", show);

  const titles = { spread: "Spread", worst: "Least like their label", "left out": "Left out" };
  const views = document.getElementById("views");
  for (const [name, title] of Object.entries(titles)) {
    const count = images.filter((one) => one.views.includes(name)).length;
    if (!count) continue;
    const choose = () => {
      view = name;
      order.value = name === "worst" ? "label" : "class";
      show();
    };
    views.append(element("button", { type: "button", "data-view": name, onclick: choose }, `${title} · ${count}`));
  }

  const kinds = [...new Set(images.map((one) => one.kind))].sort().join(" and ") || "generated";

  function show() {
    for (const button of views.children) button.setAttribute("aria-pressed", button.dataset.view === view);
    shown = images.filter(
      (one) =>
        one.views.includes(view) &&
        Object.entries(selects).every(([name, s]) => !s.value || values[name](one).includes(s.value)),
    );
    const missing = (value, otherwise) => (value === null ? otherwise : value);
    if (order.value === "label") shown.sort((a, b) => missing(a.label_similarity, 9) - missing(b.label_similarity, 9));
    if (order.value === "distance") shown.sort((a, b) => missing(b.original_distance, -9) - missing(a.original_distance, -9));
    cards.replaceChildren(...shown.map(card));
    document.getElementById("shown").textContent =
      `${shown.length} shown; ${images.length} of ${data.total.toLocaleString("en")} ${kinds} images are on this page. ` +
      "The number is the similarity to the label.";
  }

  view = views.children[0].dataset.view;
  show();

  // Ten of them, one a class where there are as many, open the page.
  for (const one of shown.filter((one) => data.sources[one.generated] && data.sources[one.original]))
    if (opening.length < 10 && !opening.some((other) => other.class_name === one.class_name)) opening.push(one);
  opening.forEach((one, position) => {
    strip.append(
      element(
        "button",
        { type: "button", "aria-label": `${one.class_name}: original and ${one.kind}`, onclick: () => open(opening, position) },
        image(one.original, ""),
        image(one.generated, ""),
      ),
    );
  });
})();
