// The page's three living parts: its language, the health panel and the copy button.
// English stands in index.html, so that the page reads without this file; Chinese stands here.

const chinese = {
  title: "Weir · LLM 网关",
  skip: "跳到正文",
  language: "语言",
  heading: "程序与 LLM 厂商之间的一道网关",
  what: "程序用一个密钥和厂商自己的客户端调用 Weir。Weir 判断调用者是谁、可以使用什么，选择上游渠道，并把回答原样流式传回。",
  books: "每个 Token 都记入账本：记到租户、成员和密钥，精确到十亿分之一美元。",
  health: "运行状况",
  call: "第一次调用",
  call_what: "列出你的密钥可以使用的模型：",
  copy: "复制命令",
  call_key: "先把你的密钥放进 WEIR_API_KEY。使用厂商的客户端时，只需更换 base URL 和密钥。",
  documentation: "文档",
  docs: "API 参考",
  readme: "README：五分钟导览",
  asking: "正在查询…",
};

// What is said in both languages only after something has happened.
const spoken = {
  en: {
    ok: "All is well",
    degraded: "Serving, with something missing",
    unreachable: "No answer from this server",
    checks: { database: "Database", redis: "Redis", providers: "Channels", version: "Version" },
    values: { ok: "✓ ok", degraded: "! degraded", down: "✕ down", error: "✕ down", not_configured: "not configured" },
    as_of: (time) => `As of ${time}. Looks again every 10 seconds.`,
    last_seen: (time) => `The figures are from ${time}. Trying again every 10 seconds.`,
    never_seen: () => "Trying again every 10 seconds.",
    copied: "Copied",
    selected: "Selected: press Ctrl+C or ⌘C",
  },
  zh: {
    ok: "一切正常",
    degraded: "仍在服务，但有部件不可用",
    unreachable: "服务器没有回应",
    checks: { database: "数据库", redis: "Redis", providers: "渠道", version: "版本" },
    values: { ok: "✓ 正常", degraded: "! 降级", down: "✕ 不可用", error: "✕ 不可用", not_configured: "未配置" },
    as_of: (time) => `截至 ${time}，每 10 秒更新一次。`,
    last_seen: (time) => `以上是 ${time} 的数据，每 10 秒重试一次。`,
    never_seen: () => "每 10 秒重试一次。",
    copied: "已复制",
    selected: "已选中，请按 Ctrl+C 或 ⌘C",
  },
};

const every = 10_000;
const byId = (id) => document.getElementById(id);
/** Writes only what differs: an unchanged live region stays silent. */
const write = (element, text) => { if (element.textContent !== text) element.textContent = text; };

// Language

const english = {};
for (const element of document.querySelectorAll("[data-text]")) english[element.dataset.text] = element.textContent;
for (const element of document.querySelectorAll("[data-label]")) english[element.dataset.label] = element.ariaLabel;

/** Storage can be switched off in a browser; the page does without. */
function remembered() {
  try { return localStorage.getItem("weir-language"); } catch { return null; }
}
function remember(language) {
  try { localStorage.setItem("weir-language", language); } catch { /* then it is asked of the browser again */ }
}

function firstLanguage() {
  const kept = remembered();
  if (kept in spoken) return kept;
  const wanted = navigator.languages?.length ? navigator.languages : [navigator.language];
  return wanted.map((tag) => tag.slice(0, 2).toLowerCase()).find((tag) => tag in spoken) ?? "en";
}

let language = firstLanguage();

function speak() {
  const words = language === "zh" ? chinese : english;
  document.documentElement.lang = language === "zh" ? "zh-CN" : "en";
  for (const element of document.querySelectorAll("[data-text]")) write(element, words[element.dataset.text]);
  for (const element of document.querySelectorAll("[data-label]")) element.ariaLabel = words[element.dataset.label];
  for (const button of languages.children) button.ariaPressed = String(button.lang === language);
  write(byId("copied"), "");
  showHealth();
}

const languages = document.querySelector(".switch");
languages.hidden = false;
languages.addEventListener("click", (event) => {
  const chosen = event.target.closest("button")?.lang;
  if (!chosen || chosen === language) return;
  language = chosen;
  remember(language);
  speak();
});

// Health

/** `answer` is the last one there was, `at` its time, `failed` whether the newest question got none. */
const health = { answer: null, at: null, failed: false };

async function askHealth() {
  try {
    const response = await fetch("/health", { cache: "no-store", signal: AbortSignal.timeout(5_000) });
    if (!response.ok) throw new Error(`status ${response.status}`);
    health.answer = await response.json();
    health.at = new Date();
    health.failed = false;
  } catch {
    health.failed = true;
  }
  showHealth();
  setTimeout(askHealth, every);
}

function showHealth() {
  const words = spoken[language];
  const { answer, at, failed } = health;

  // Before the first answer the list stands as it will be, so that nothing moves when it comes.
  const checks = answer?.checks ?? { database: "—", redis: "—", providers: "—" };
  const rows = Object.entries(checks).map(([name, value]) => [name, words.values[value] ?? String(value)]);
  rows.push(["version", String(answer?.version ?? "—")]);
  byId("checks").classList.toggle("stale", failed);
  byId("checks").replaceChildren(...rows.map(([name, value]) => {
    const row = document.createElement("div");
    const term = document.createElement("dt");
    const detail = document.createElement("dd");
    term.textContent = words.checks[name] ?? name;
    detail.textContent = value;
    row.append(term, detail);
    return row;
  }));
  if (!answer && !failed) return;

  const state = failed ? "unreachable" : answer.status === "ok" ? "ok" : "degraded";
  byId("status").dataset.state = state;
  byId("status-text").removeAttribute("data-text");
  write(byId("status-text"), words[state]);

  const time = at?.toLocaleTimeString(document.documentElement.lang, { hourCycle: "h23" });
  write(byId("as-of"), (!failed ? words.as_of : at ? words.last_seen : words.never_seen)(time));
}

// The command

const command = byId("curl");
command.textContent = command.textContent.replace('"$WEIR_URL/v1/models"', `${location.origin}/v1/models`);

const copy = byId("copy");
copy.hidden = false;
copy.addEventListener("click", async () => {
  try {
    await navigator.clipboard.writeText(command.textContent);
    write(byId("copied"), `✓ ${spoken[language].copied}`);
  } catch {
    // Over plain http from another machine a browser refuses the clipboard.
    getSelection().selectAllChildren(command);
    write(byId("copied"), spoken[language].selected);
  }
  setTimeout(() => write(byId("copied"), ""), 4_000);
});

speak();
askHealth();
