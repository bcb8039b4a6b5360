// Compares random expressions, zones and instants with croner (npm), and gives every difference a name.
// A difference without a name is a failure. The names are explained in docs/cron.md.
//
// usage: node croner.mjs PATH_TO_SLOTS PATH_TO_CRONER [--cases N] [--seed N] [--show NAME]
//
// PATH_TO_SLOTS is the program of slots.c, PATH_TO_CRONER croner's main module.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { pathToFileURL } from 'node:url';

const [slotsPath, cronerPath, ...rest] = process.argv.slice(2);
const option = (name, otherwise) => {
  const at = rest.indexOf(name);
  return at < 0 ? otherwise : rest[at + 1];
};
const caseCount = Number(option('--cases', '1000000'));
const shown = option('--show', '');
const { Cron } = await import(pathToFileURL(cronerPath).href);

// ---- Randomness from a seed (mulberry32) ----
let state = Number(option('--seed', '1')) >>> 0;
function random() {
  state = (state + 0x6d2b79f5) >>> 0;
  let t = state;
  t = Math.imul(t ^ (t >>> 15), t | 1);
  t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
  return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
}
const pick = (least, most) => least + Math.floor(random() * (most - least + 1));
const chance = (percent) => random() * 100 < percent;
const among = (list) => list[pick(0, list.length - 1)];

// ---- Expressions ----
const MONTHS = ['JAN', 'feb', 'Mar', 'APR', 'may', 'Jun', 'JUL', 'aug', 'Sep', 'OCT', 'nov', 'Dec'];
const DAYS = ['SUN', 'mon', 'Tue', 'WED', 'thu', 'Fri', 'SAT'];

function value(v, names, base) {
  return names && v - base < names.length && chance(25) ? names[v - base] : String(v);
}
function entry(least, most, names) {
  const form = pick(0, 9);
  const step = () => `/${pick(1, chance(5) ? (most - least) * 2 : Math.ceil((most - least) / 2))}`;
  if (form < 6) return value(pick(least, most), names, least);
  if (form < 8) {
    const from = pick(least, most);
    const to = pick(from, most);
    return `${value(from, names, least)}-${value(to, names, least)}` + (chance(40) ? step() : '');
  }
  return '*' + (chance(80) ? step() : '');
}
function field(least, most, star, names) {
  if (chance(star)) return '*';
  const entries = [entry(least, most, names)];
  while (entries.length < 4 && chance(30)) entries.push(entry(least, most, names));
  return entries.join(',');
}
function dayField() {
  if (chance(82)) return field(1, 31, 45);
  return among(['L', 'LW', `${pick(1, 31)}W`, `L,${pick(1, 28)}`, '?', `${pick(1, 31)}W`]);
}
function weekdayField() {
  const plus = chance(12) ? '+' : '';
  if (chance(80)) return plus + field(0, 7, 45, DAYS);
  const one = () => value(pick(0, 6), DAYS, 0) + among([`#${pick(1, 5)}`, '#L', 'L']);
  return plus + (chance(20) ? '?' : chance(30) ? `${one()},${one()}` : one());
}
function expression(year) {
  const parts = [field(0, 59, 20), field(0, 23, 25), dayField(), field(1, 12, 70, MONTHS), weekdayField()];
  if (chance(30)) {
    parts.unshift(field(0, 59, 15));
    if (chance(30)) parts.push(chance(30) ? '*' : `${year}-${Math.min(2199, year + pick(0, 8))}`);
  }
  if (chance(1)) return among(['@daily', '@hourly', '@weekly', '@monthly', '@yearly', '@annually', '@midnight']);
  return parts.join(' ');
}

// Something that may not be of the language any more.
function spoiled(text) {
  const at = pick(0, text.length - 1);
  const letter = among([...'0123456789*,-/LW#+?Hlwx ']);
  return chance(50) ? text.slice(0, at) + letter + text.slice(at + 1) : text.slice(0, at) + letter + text.slice(at);
}

// ---- Zones and instants ----
const zones = Intl.supportedValuesOf('timeZone').filter((zone) => zone !== 'UTC');
const favourites = ['Europe/Berlin', 'America/New_York', 'Australia/Lord_Howe', 'America/Havana', 'Africa/Cairo',
  'Asia/Beirut', 'Antarctica/Troll', 'Africa/Casablanca', 'Europe/Dublin', 'America/Santiago', 'Pacific/Apia',
  'Asia/Kathmandu', 'UTC'];

// ---- Our side: a child that answers line by line ----
const child = spawn(slotsPath, [], { stdio: ['pipe', 'pipe', 'inherit'] });
const answers = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
async function ask(lines) {
  if (!child.stdin.write(lines.join('\n') + '\n')) once(child.stdin, 'drain');
  const out = [];
  for (let i = 0; i < lines.length; i++) {
    const { value: answer, done } = await answers.next();
    if (done) throw new Error('the program of slots.c ended');
    out.push(answer);
  }
  return out;
}

function askCroner(text, zone, from) {
  try {
    const cron = new Cron(text, { timezone: zone, paused: true });
    const next = cron.nextRun(new Date(from * 1000));
    return {
      slot: next === null ? null : Math.round(next.getTime() / 1000),
      isFixed: cron._states.pattern.isFixedTime,
    };
  } catch (error) {
    return { error: error.message };
  }
}

// ---- Names for differences ----
const formats = new Map();
function intlOffset(zone, at) {
  if (!formats.has(zone)) {
    formats.set(zone, new Intl.DateTimeFormat('en-US', { timeZone: zone, year: 'numeric', month: 'numeric',
      day: 'numeric', hour: 'numeric', minute: 'numeric', second: 'numeric', hourCycle: 'h23' }));
  }
  const part = {};
  for (const { type, value: text } of formats.get(zone).formatToParts(at * 1000)) part[type] = Number(text);
  return Date.UTC(part.year, part.month - 1, part.day, part.hour, part.minute, part.second) / 1000 - at;
}

const END = Date.UTC(2200, 0, 1) / 1000;

// What only one of the two accepts, by what the other says against it.
const refusals = [
  ['H', (ours, theirs, text) => theirs && text.includes('H')],
  ['step-beyond-range', (ours, theirs) => /steps cannot be greater/.test(theirs)],
  ['question-mark-elsewhere', (ours) => /found '\?'/.test(ours)],
  ['year-range', (ours) => /is out of range 1970-2199/.test(ours)],
  ['lower-case-L-and-W', (ours) => /found '[lw]'/.test(ours)],
  ['W-in-a-list', (ours) => /W stands for one day/.test(ours)],
  ['nickname-case', (ours) => /nicknames are lower case/.test(ours)],
  ['end-of-a-stepped-range', (ours, theirs, text) => /is out of range/.test(ours) && /-\d+\/\d/.test(text)],
  ['SUN-SUN', (ours, theirs, text) => /never fires/.test(ours) && /sun-sun/i.test(text)],
  ['nth-of-a-range', (ours) => /expected ',' or the end of the field, found '[#L]'/.test(ours)],
];

function nameOfParse(text, ours, croner) {
  if (croner.error === undefined && ours[1] === 'ScheduleNeverFires' &&
      (croner.slot === null || croner.slot >= END)) return 'same: never fires';
  const row = refusals.find(([, fits]) => fits(ours[0] === 'error' ? ours[2] : '', croner.error ?? '', text));
  return row === undefined ? null : row[0];
}

// The expression with '*' at the head of a list in a day field written as a range. OCPS 1.1 section 6.1 and
// cronie say that such a field is unrestricted; for croner only a field that is '*' alone is.
function withoutOpenLists(text) {
  const fields = text.split(' ');
  const day = fields.length === 5 ? 2 : 3;
  for (const [at, range] of [[day, '1-31'], [day + 2, '0-7']]) {
    const plus = (fields[at] ?? '').startsWith('+') ? '+' : '';
    if (/^\+?[*?],/.test(fields[at] ?? '')) fields[at] = plus + range;
  }
  return fields.join(' ');
}

const toSlot = (text) => (text === 'none' ? null : Number(text));

// Whether croner's clock shows something else around these instants.
async function otherDatabase(zone, instants) {
  for (const at of instants) {
    for (const near of [at - 86400, at - 10800, at - 1, at, at + 10800, at + 86400]) {
      const [offset] = (await ask([`?\t${zone}\t${near}`]))[0].split('\t').map(Number);
      if (offset !== intlOffset(zone, near)) return true;
    }
  }
  return false;
}

// croner's rule for daylight saving, in the terms of our policies: what has one second, minute and hour
// without '*' and '/' is fixed (shift, first); all else is skipped and repeated as the wall clock shows it.
const byCronersRule = (ours, croner) => toSlot(croner.isFixed ? ours[0] : ours[3]);

async function nameOfSlot(test, ours, croner) {
  const slot = toSlot(ours[0]);
  const theirs = croner.slot;
  if (slot === null && (theirs === null || theirs >= END - 86400)) return 'same: none before 2200';
  if (theirs === byCronersRule(ours, croner)) return 'fixed-lists';
  const closed = withoutOpenLists(test.text);
  if (closed !== test.text) {
    const answer = (await ask([`${closed}\t${test.zone}\t${test.from}`]))[0].split('\t');
    if (theirs === byCronersRule(answer, croner)) return 'star-in-a-list';
  }
  if (/sun-sun/i.test(test.text)) {
    const week = test.text.replace(/sun-sun/gi, '0-7');
    const answer = (await ask([`${week}\t${test.zone}\t${test.from}`]))[0].split('\t');
    if (theirs === byCronersRule(answer, croner)) return 'SUN-SUN';
  }
  const instants = [test.from, slot, theirs].filter((at) => at !== null);
  if (slot !== null && !croner.isFixed) {
    const [offset, start, before] = (await ask([`?\t${test.zone}\t${slot}`]))[0].split('\t').map(Number);
    if (before - offset > 10800 && start > test.from && slot < start + (before - offset)) {
      return 'set-back-by-more-than-three-hours';
    }
  }
  return (await otherDatabase(test.zone, instants)) ? 'other-tzdata' : null;
}

// ---- The comparison ----
const counts = new Map();
const examples = new Map();
let same = 0;
let unnamed = 0;

function note(name, test, ours, croner) {
  counts.set(name, (counts.get(name) ?? 0) + 1);
  if ((!examples.has(name) || name === shown) && !name.startsWith('same')) {
    examples.set(name, { test, ours, croner });
    const iso = (at) => (Number.isFinite(Number(at)) && at !== null ? new Date(at * 1000).toISOString() : at);
    console.log(`e.g. ${name}: '${test.text}' ${test.zone} after ${iso(test.from)}: ` +
      `ours ${ours[0] === 'error' ? ours[2] : iso(ours[0])}, croner ${croner.error ?? iso(croner.slot)}`);
  }
}

for (let done = 0; done < caseCount;) {
  const tests = [];
  for (let i = 0; i < Math.min(2000, caseCount - done); i++) {
    const year = chance(80) ? pick(2000, 2040) : pick(1971, 2190);
    const zone = chance(50) ? among(favourites) : among(zones);
    let from = Date.UTC(year, chance(40) ? among([2, 3, 8, 9, 10]) : pick(0, 11), pick(1, 28), pick(0, 23), pick(0, 59)) / 1000;
    if (chance(50)) from += pick(0, 59);
    const text = expression(year);
    tests.push({ text: chance(4) ? spoiled(text) : text, zone, from });
  }
  // Four in ten begin shortly before the clock is changed next.
  const spans = await ask(tests.map(({ zone, from }) => `?\t${zone}\t${from}`));
  for (const [i, test] of tests.entries()) {
    const end = Number(spans[i].split('\t')[3]);
    if (chance(40) && end < END) test.from = end - pick(-3600, chance(50) ? 10800 : 86400 * 2);
  }
  const lines = await ask(tests.map(({ text, zone, from }) => `${text}\t${zone}\t${from}`));
  for (const [i, test] of tests.entries()) {
    const ours = lines[i].split('\t');
    const croner = askCroner(test.text, test.zone, test.from);
    let name;
    if (ours[0] === 'error' || croner.error !== undefined) {
      if (ours[0] === 'error' && croner.error !== undefined) { same++; continue; }
      name = nameOfParse(test.text, ours, croner);
      const closed = withoutOpenLists(test.text);
      if (name === null && ours[1] === 'ScheduleNeverFires' && closed !== test.text) {
        const answer = (await ask([`${closed}\t${test.zone}\t${test.from}`]))[0].split('\t');
        if (croner.slot === byCronersRule(answer, croner)) name = 'star-in-a-list';
      }
    } else {
      if (String(croner.slot) === ours[0] || (croner.slot === null && ours[0] === 'none')) { same++; continue; }
      name = await nameOfSlot(test, ours, croner);
    }
    if (name === null) {
      unnamed++;
      name = 'UNNAMED';
      if (unnamed <= 40) examples.delete(name);
    }
    note(name, test, ours, croner);
  }
  done += tests.length;
}
child.stdin.end();
console.log(`croner: ${caseCount} cases, ${same} the same`);
for (const [name, count] of [...counts].sort()) console.log(`  ${String(count).padStart(8)}  ${name}`);
console.log(unnamed === 0 ? 'every difference has a name' : `${unnamed} differences without a name`);
process.exit(unnamed === 0 ? 0 : 1);
