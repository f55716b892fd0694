// Keeps the page as the mount is now: puts what has changed in its place, and nothing else, so that focus, scrolling and
// what is unfolded stay. The page is whole without this.
'use strict';

const root = document.documentElement;
const places = new Map([...document.querySelectorAll('[data-live]')].map((place) => [place.dataset.live, place]));
const uploads = document.getElementById('uploads');
const news = document.getElementById('news');
const connection = document.getElementById('connection');
const pause = document.getElementById('pause');

// How often at most something is read aloud, and how long to wait before asking again, in milliseconds.
const NEWS_EVERY = 10000;
const AGAIN_AFTER = 5000;

let source = null;
let again = null;
let toSay = '';
let saying = null;
let updates = 0;

// Replaces what is inside, unless somebody has just selected something of it.
function replace(place, html) {
  const selection = document.getSelection();
  if (selection && !selection.isCollapsed && place.contains(selection.anchorNode)) return;
  place.innerHTML = html;
}

function article(html) {
  const template = document.createElement('template');
  template.innerHTML = html;
  return template.content.firstElementChild;
}

function draw(upload) {
  let shown = document.getElementById(upload.id);
  if (upload.article) {
    const made = article(upload.article);
    if (shown) shown.replaceWith(made);
    else uploads.append(made);
    return;
  }
  if (!shown) return;
  replace(shown.querySelector('.told'), upload.told);
  const grid = shown.querySelector('.cells');
  grid.setAttribute('aria-label', upload.label);
  const perCell = Number(grid.dataset.partsPerCell);
  const { cells } = upload;
  while (grid.children.length > cells.length) grid.lastElementChild.remove();
  for (let index = 0; index < cells.length; index += 1) {
    let cell = grid.children[index];
    if (!cell) {
      cell = document.createElement('i');
      cell.className = 'cell';
      if (perCell === 1) cell.dataset.part = index + 1;
      grid.append(cell);
    }
    if (cell.dataset.state !== cells[index]) cell.dataset.state = cells[index];
  }
  grid.classList.toggle('small', cells.length > 200);
}

function arrange(order) {
  for (const shown of [...uploads.children]) {
    if (!order.includes(shown.id)) shown.remove();
  }
  order.forEach((id, index) => {
    const shown = document.getElementById(id);
    if (shown && uploads.children[index] !== shown) uploads.insertBefore(shown, uploads.children[index] ?? null);
  });
}

function say(text) {
  toSay = text;
  if (saying) return;
  news.textContent = text;
  saying = setTimeout(() => {
    saying = null;
    if (news.textContent !== toSay) say(toSay);
  }, NEWS_EVERY);
}

function apply(changes) {
  for (const [name, html] of Object.entries(changes.fragments ?? {})) {
    const place = places.get(name);
    // There is none where the mount that answers now is of another version than the page.
    if (place) replace(place, html);
  }
  for (const upload of changes.uploads ?? []) draw(upload);
  if (changes.order) arrange(changes.order);
  if (changes.title) document.title = changes.title;
  if (changes.news) say(changes.news);
  root.dataset.at = changes.at;
  updates += 1;
  root.dataset.updates = updates;
}

function tell(state, words) {
  if (connection.dataset.connection === state) return;
  connection.dataset.connection = state;
  connection.textContent = words;
  if (state === 'lost') say('The mount does not answer; trying again');
}

function stop() {
  clearTimeout(again);
  source?.close();
  source = null;
}

function follow() {
  stop();
  source = new EventSource('/events');
  source.onmessage = (event) => {
    tell('live', 'Live');
    apply(JSON.parse(event.data));
  };
  source.onerror = () => {
    tell('lost', 'No answer, trying again');
    // It tries again by itself after an interruption, and not after a refusal.
    if (source.readyState === EventSource.CLOSED) again = setTimeout(follow, AGAIN_AFTER);
  };
}

const isPaused = () => pause.getAttribute('aria-pressed') === 'true';

pause.addEventListener('click', () => {
  const paused = !isPaused();
  pause.setAttribute('aria-pressed', paused);
  if (paused) {
    stop();
    tell('paused', 'Paused');
  } else {
    follow();
  }
});

// Nobody looks: the mount need not tell.
document.addEventListener('visibilitychange', () => {
  if (document.hidden) stop();
  else if (!isPaused()) follow();
});

document.getElementById('following').hidden = false;
follow();
