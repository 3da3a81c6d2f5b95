"use strict";

start(async (index) => {
  const get = (id) => document.getElementById(id);
  const data = await vcbench.need("pictures");
  get("about").textContent = data.about;
  if (data.absent.length) {
    get("absent").hidden = false;
    get("absent-list").replaceChildren(...data.absent.map((text) => element("li", {}, text)));
  }
  if (!data.sequences.length) return;
  get("viewer").hidden = false;

  const [sequenceBox, frameBox, leftBox, rightBox] = ["sequence", "frame", "left", "right"].map(get);
  const stage = get("stage");
  const images = { left: get("image-left"), right: get("image-right") };
  const modes = ["split", "flip", "side", "difference"];
  const view = { scale: 1, x: 0, y: 0, fit: true };
  let mode = modes.includes(choice.get("view")) ? choice.get("view") : "split";
  let flipped = false;

  const entry = () => data.sequences[Number(sequenceBox.value)];
  const videos = () => entry().videos;
  const nameOf = (video) => (video.codec === null ? "source" : `${index.codecs[video.codec].name} ${video.parameter} ${video.rate}`);
  const described = (video) => (video.codec === null ? "source" : `${nameOf(video)}: ${format.number(video.bpp, 3)} bit/pixel`);

  fill(sequenceBox, data.sequences.map((one, number) => [number, index.sequences[one.sequence].name, index.sequences[one.sequence].dataset]),
    Math.max(data.sequences.findIndex((one) => index.sequences[one.sequence].name === choice.get("sequence")), 0));

  function listVideos() {
    const options = videos().map((video, number) => [number, described(video)]);
    const named = (name, otherwise) => { const found = videos().findIndex((video) => nameOf(video) === name); return found < 0 ? otherwise : found; };
    const coded = videos().map((video, number) => [video, number]).filter(([video]) => video.codec !== null);
    const middle = (codec) => { const own = coded.filter(([video]) => video.codec === codec); return own.length ? own[Math.floor((own.length - 1) / 2)][1] : undefined; };
    const codecs = [...new Set(coded.map(([video]) => video.codec))];
    const first = middle(codecs[0]) ?? 0;
    fill(leftBox, options, named(choice.get("left"), first));
    fill(rightBox, options, named(choice.get("right"), codecs.length > 1 ? nearest(codecs[1], videos()[first].bpp) : 0));
    fill(frameBox, entry().frames.map((frame, number) => [number, `${frame}`]), Math.max(entry().frames.indexOf(Number(choice.get("frame") ?? NaN)), 0));
  }

  // Of a codec, the video whose rate is nearest by ratio.
  function nearest(codec, bpp) {
    const own = videos().map((video, number) => [video, number]).filter(([video]) => video.codec === codec);
    return own.sort(([a], [b]) => Math.abs(Math.log(a.bpp / bpp)) - Math.abs(Math.log(b.bpp / bpp)))[0][1];
  }

  function matched(changed, other) {
    const [own, opposite] = [videos()[Number(changed.value)], videos()[Number(other.value)]];
    if (get("match").checked && own.codec !== null && opposite.codec !== null && own.codec !== opposite.codec) other.value = nearest(opposite.codec, own.bpp);
  }

  function show() {
    const frame = Number(frameBox.value);
    for (const [side, box] of [["left", leftBox], ["right", rightBox]]) {
      const video = videos()[Number(box.value)];
      const map = get("maps").checked ? video.maps[frame] : null;
      images[side].src = `pictures/${map ?? video.files[frame]}`;
      images[side].alt = `${map ? "Warping error of " : ""}${described(video)}, frame ${entry().frames[frame]} of ${index.sequences[entry().sequence].name}`;
      get(`tag-${side}`).textContent = `${map ? "warping error, " : ""}${described(video)}`;
    }
    get("maps-label").hidden = !videos().some((video) => video.maps.some((map) => map));
    choice.set({ sequence: index.sequences[entry().sequence].name, frame: entry().frames[frame], left: nameOf(videos()[Number(leftBox.value)]), right: nameOf(videos()[Number(rightBox.value)]), view: mode, maps: get("maps").checked ? "1" : null });
    showMode();
    showFacts(frame);
  }

  function showFacts(frame) {
    const part = (box, title) => {
      const video = videos()[Number(box.value)];
      const list = element("dl");
      const fact = (name, text) => list.append(element("dt", {}, name), element("dd", {}, text));
      if (video.codec === null) fact("rate", "none: the source");
      else {
        fact("rate", `${format.number(video.bpp)} bit/pixel over the whole sequence${index.codecs[video.codec].rate === "bitstream" ? "" : `, ${kindOf(index.codecs[video.codec]).mark}`}`);
        for (const [name, value] of Object.entries(video.values[frame] ?? {})) fact(index.metrics.find((metric) => metric.name === name)?.label ?? name, `${format.number(value, 5)} on this frame`);
        fact("bitstream", `SHA-256 ${video.sha256.slice(0, 16)} …`);
      }
      return element("div", {}, element("h3", {}, `${title}: ${nameOf(video)}`), list);
    };
    get("facts").replaceChildren(part(leftBox, "Left"), part(rightBox, "Right"));
  }

  function showMode() {
    stage.dataset.mode = mode;
    for (const button of document.querySelectorAll("[data-mode][role=radio]")) {
      button.setAttribute("aria-checked", button.dataset.mode === mode);
      button.tabIndex = button.dataset.mode === mode ? 0 : -1;
    }
    get("split-row").hidden = mode !== "split";
    get("gain-label").hidden = mode !== "difference";
    const split = Number(get("split").value);
    get("divider").style.left = `${split}%`;
    get("layer-left").style.visibility = mode === "flip" && flipped ? "hidden" : "visible";
    get("layer-right").style.visibility = mode === "flip" && !flipped ? "hidden" : "visible";
    get("layer-right").style.clipPath = mode === "split" ? `inset(0 0 0 ${split}%)` : "none";
    get("tag-left").hidden = mode === "flip" && flipped;
    get("tag-right").hidden = mode === "flip" && !flipped;
    stage.style.filter = mode === "difference" ? `brightness(${get("gain").value})` : "none";
    if (mode === "difference") for (const side of ["left", "right"]) get(`tag-${side}`).hidden = true;
    place();
  }

  // A picture pixel is a whole number of screen pixels from 1:1 on, and is not smoothed from 2:1 on.
  function place() {
    const width = get("layer-left").clientWidth;
    const { naturalWidth, naturalHeight } = images.left;
    if (!naturalWidth) return;
    if (view.fit) {
      const largest = Math.min(width / naturalWidth, stage.clientHeight / naturalHeight);
      view.scale = largest >= 1 ? Math.floor(largest * 2) / 2 : largest;
      view.x = (width - naturalWidth * view.scale) / 2;
      view.y = (stage.clientHeight - naturalHeight * view.scale) / 2;
    }
    for (const image of Object.values(images)) {
      image.style.transform = `translate(${view.x}px, ${view.y}px) scale(${view.scale})`;
      image.classList.toggle("crisp", view.scale >= 2);
    }
    get("zoom").textContent = `${Math.round(view.scale * 100)} %`;
  }

  function zoom(factor, x, y) {
    const [left, top] = [x ?? get("layer-left").clientWidth / 2, y ?? stage.clientHeight / 2];
    const scale = Math.min(Math.max(view.scale * factor, 0.1), 32);
    view.x = left - ((left - view.x) * scale) / view.scale;
    view.y = top - ((top - view.y) * scale) / view.scale;
    Object.assign(view, { scale, fit: false });
    place();
  }

  function pan(x, y) {
    view.x += x;
    view.y += y;
    view.fit = false;
    place();
  }

  function setMode(name, focus) {
    mode = name;
    choice.set({ view: mode });
    view.fit = true;
    showMode();
    if (focus) document.querySelector(`[data-mode="${name}"][role=radio]`).focus();
  }

  function step(box, by) {
    const last = box.options.length - 1;
    box.selectedIndex = Math.min(Math.max(box.selectedIndex + by, 0), last);
    show();
  }

  const keys = {
    ArrowLeft: () => pan(40, 0), ArrowRight: () => pan(-40, 0), ArrowUp: () => pan(0, 40), ArrowDown: () => pan(0, -40),
    "+": () => zoom(1.5), "=": () => zoom(1.5), "-": () => zoom(1 / 1.5), 0: () => { view.fit = true; place(); },
    "[": () => step(frameBox, -1), "]": () => step(frameBox, 1), ",": () => moveSplit(-2), ".": () => moveSplit(2),
    " ": () => { flipped = !flipped; if (mode !== "flip") mode = "flip"; showMode(); },
    w: () => { if (!get("maps-label").hidden) get("maps").click(); },
    1: () => setMode("split"), 2: () => setMode("flip"), 3: () => setMode("side"), 4: () => setMode("difference"),
  };
  stage.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || !Object.hasOwn(keys, event.key)) return;
    event.preventDefault();
    keys[event.key]();
  });

  function moveSplit(by) {
    get("split").value = Number(get("split").value) + by;
    showMode();
  }

  let drag = null;
  stage.addEventListener("pointerdown", (event) => {
    drag = { x: event.clientX, y: event.clientY, moved: 0, split: event.target === get("divider") };
    stage.setPointerCapture(event.pointerId);
  });
  stage.addEventListener("pointermove", (event) => {
    if (!drag) return;
    const [x, y] = [event.clientX - drag.x, event.clientY - drag.y];
    drag = { ...drag, x: event.clientX, y: event.clientY, moved: drag.moved + Math.abs(x) + Math.abs(y) };
    if (drag.split) {
      get("split").value = ((event.clientX - stage.getBoundingClientRect().left) / stage.clientWidth) * 100;
      showMode();
    } else pan(x, y);
  });
  stage.addEventListener("pointerup", () => {
    if (drag && drag.moved < 4 && mode === "flip") keys[" "]();
    drag = null;
  });
  stage.addEventListener("pointercancel", () => { drag = null; });
  stage.addEventListener("wheel", (event) => {
    if (!event.ctrlKey && document.activeElement !== stage) return;
    event.preventDefault();
    const box = stage.getBoundingClientRect();
    zoom(event.deltaY < 0 ? 1.2 : 1 / 1.2, event.clientX - box.left, event.clientY - box.top);
  }, { passive: false });

  sequenceBox.addEventListener("change", () => { choice.set({ left: null, right: null, frame: null }); view.fit = true; listVideos(); show(); });
  frameBox.addEventListener("change", show);
  leftBox.addEventListener("change", () => { matched(leftBox, rightBox); show(); });
  rightBox.addEventListener("change", () => { matched(rightBox, leftBox); show(); });
  get("maps").checked = choice.get("maps") === "1";
  get("maps").addEventListener("change", show);
  get("split").addEventListener("input", showMode);
  get("gain").addEventListener("change", showMode);
  get("zoom-in").addEventListener("click", () => zoom(1.5));
  get("zoom-out").addEventListener("click", () => zoom(1 / 1.5));
  get("zoom-fit").addEventListener("click", () => { view.fit = true; place(); });
  for (const button of document.querySelectorAll("[data-mode][role=radio]")) {
    button.addEventListener("click", () => setMode(button.dataset.mode));
    button.addEventListener("keydown", (event) => {
      const by = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      if (!by) return;
      event.preventDefault();
      setMode(modes[(modes.indexOf(mode) + by + modes.length) % modes.length], true);
    });
  }
  for (const image of Object.values(images)) image.addEventListener("load", place);
  new ResizeObserver(place).observe(stage);
  for (const form of document.forms) form.addEventListener("submit", (event) => event.preventDefault());
  listVideos();
  show();
});
