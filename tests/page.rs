//! Tests of the page at `/` in a real browser.

use fantoccini::Locator;
use fantoccini::key::Key;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::Operator;
use crate::support::browser::Browser;
use crate::support::server::Server;

const DEMO: [&str; 3] = ["--demo", "--engine", "local"];
const TWO: &str =
    "name: Acme\ndefaults: {runtime: x}\nworkspaces: [{name: Lead, children: [{name: Scout}]}]\n";
const WITH_A_VARIABLE: &str = "name: Acme\ndescription: A pair\ndefaults: {runtime: x}\nrequired_env: [API_KEY]\n\
     workspaces: [{name: Lead, children: [{name: Scout}]}]\n";
const ALL_RUN: &str = "document.querySelectorAll('.tree .row').length === 2 && document.querySelectorAll('.row[data-state=running]').length === 2";

/// A server with one template, `pair`, that requires a variable.
fn server(operator: &Operator) -> Server {
    operator.file("state/templates/pair/org.yaml", WITH_A_VARIABLE);
    Server::start(operator, &DEMO)
}

async fn take_down(server: &Server, org: &str) {
    let path = format!("/v1/orgs/{org}?volumes=true&wait=60");
    let (status, gone) = server.ask(Method::DELETE, &path, None).await;
    assert_eq!(status, 200, "{gone}");
}

#[tokio::test]
async fn the_page_makes_no_foreign_requests_and_keeps_its_policy() {
    let operator = Operator::new();
    let server = server(&operator);
    server
        .import(json!({"inline": TWO, "ready_seconds": 30}))
        .await;
    let browser = Browser::open(1280, 900).await;
    // Requests that the browser makes at its own start are not counted.
    browser.goto("about:blank").await;
    browser.requests().await;
    browser.goto(&server.url).await;
    browser
        .until("document.querySelector('#connection').dataset.state === 'live'")
        .await;
    browser.press("Acme").await;
    browser.until(ALL_RUN).await;
    browser.press("Lead").await;
    browser.find(".workspace").await;
    browser.press("Import").await;
    browser.find(".template").await;
    let requests = browser.requests().await;
    assert!(requests.len() > 10, "{requests:?}");
    for address in requests {
        assert!(address.starts_with(&server.url), "{address}");
    }
    let console = browser.console().await;
    assert_eq!(console, Vec::<String>::new());
    // The policy blocks an injected script and an injected style.
    let blocked = browser
        .client
        .execute_async(
            "const done = arguments[0]; addEventListener('securitypolicyviolation', (e) => done(e.effectiveDirective), {once: true});
             const script = document.createElement('script'); script.textContent = 'window.injected = true'; document.body.append(script);",
            vec![],
        )
        .await
        .unwrap();
    assert_eq!(blocked, "script-src-elem");
    assert_eq!(browser.eval("window.injected").await, Value::Null);
    take_down(&server, "acme").await;
}

#[tokio::test]
async fn a_template_is_imported_with_its_required_variable() {
    let operator = Operator::new();
    let server = server(&operator);
    let browser = Browser::open(1280, 900).await;
    browser.goto(&server.url).await;
    browser.press("Import the first one").await;
    browser.click(".template input").await;
    let name = browser.text(".variable label code").await;
    assert_eq!(name, "API_KEY");
    browser.press("Show the plan").await;
    // The plan is refused with the reason, and the focus moves to the missing value.
    browser
        .until("document.querySelector('.plan .notice.bad')?.textContent.includes('API_KEY')")
        .await;
    browser
        .until("document.activeElement.matches('.variable input[type=password]')")
        .await;
    browser
        .fill(".variable input[type=password]", "s3cret-value")
        .await;
    browser.press("Show the plan").await;
    browser
        .until("document.querySelectorAll('.planned > li').length === 2")
        .await;
    browser.press("Import Acme").await;
    browser.until(ALL_RUN).await;
    assert_eq!(browser.eval("location.hash").await, "#/orgs/acme");
    browser
        .until("document.querySelector('.operations [data-state=done]')")
        .await;
    browser
        .until("document.querySelector('ol.events').textContent.includes('ended well')")
        .await;
    let kept = browser
        .eval("JSON.stringify({...localStorage, ...sessionStorage}) + document.documentElement.outerHTML")
        .await;
    assert!(!kept.as_str().unwrap().contains("s3cret-value"), "{kept}");

    // Reload and back keep the selected workspace.
    browser.press("Scout").await;
    browser.client.refresh().await.unwrap();
    browser
        .until("document.querySelector('#workspace-name')?.textContent === 'Scout'")
        .await;
    browser.client.back().await.unwrap();
    browser
        .until("!document.querySelector('#workspace-name') && location.hash === '#/orgs/acme'")
        .await;

    // Planning the same template again compares it with the running org.
    operator.file(
        "state/templates/pair/org.yaml",
        WITH_A_VARIABLE.replace("name: Scout", "name: Editor"),
    );
    browser.press("Bring up to date…").await;
    browser.press("Show the plan").await;
    let missing = ".plan .notice.bad";
    browser.find(missing).await;
    browser
        .fill(".variable input[type=password]", "s3cret-value")
        .await;
    browser.press("Show the plan").await;
    browser
        .until("[...document.querySelectorAll('.planned .badge')].map((b) => b.textContent).join() === 'same,new,not in the template'")
        .await;
    take_down(&server, "acme").await;
}

#[tokio::test]
async fn workspace_states_update_without_a_reload() {
    let operator = Operator::new();
    let server = server(&operator);
    let browser = Browser::open(1280, 900).await;
    browser.goto(&server.url).await;
    browser.find(".empty").await;
    browser.eval("window.sameDocument = true").await;
    server
        .import(json!({"inline": TWO, "ready_seconds": 30}))
        .await;
    browser
        .until("document.querySelector('.org .badge.good')?.textContent === '2 of 2 up'")
        .await;
    browser.press("Acme").await;
    browser.until(ALL_RUN).await;
    take_down(&server, "acme").await;
    browser
        .until("document.querySelector('.notices')?.textContent.includes('not on this host')")
        .await;
    browser
        .until("document.querySelectorAll('ol.events li').length > 10")
        .await;
    let places = browser
        .eval("[...document.querySelectorAll('ol.events li')].map((li) => Number(li.dataset.seq))")
        .await;
    let places: Vec<u64> = serde_json::from_value(places).unwrap();
    assert!(
        places.windows(2).all(|pair| pair[0] > pair[1]),
        "each once, the newest first: {places:?}"
    );
    assert_eq!(browser.eval("window.sameDocument").await, true);
    server.kill();
    browser
        .until("document.querySelector('#connection').textContent.includes('disconnected')")
        .await;
}

#[tokio::test]
async fn hostile_names_are_shown_as_text() {
    const HOSTILE: &str = "<img src=x onerror=window.hacked=1>";
    let operator = Operator::new();
    let template = format!(
        "name: '{HOSTILE} org'\ndescription: '{HOSTILE}'\ndefaults: {{runtime: x}}\n\
         workspaces: [{{name: '{HOSTILE} one', role: '{HOSTILE}', tier: 1}}, {{name: '{HOSTILE} two'}}]\n"
    );
    operator.file("state/templates/hostile/org.yaml", &template);
    let server = Server::start(&operator, &DEMO);
    let browser = Browser::open(1280, 900).await;
    browser.goto(&format!("{}/#/import", server.url)).await;
    browser.click(".template input").await;
    assert!(browser.text(".template").await.contains(HOSTILE));
    browser.press("Show the plan").await;
    browser
        .until("document.querySelectorAll('.planned > li').length === 2")
        .await;
    let plan = browser.text(".plan").await;
    assert!(plan.matches(HOSTILE).count() >= 5, "{plan}");
    let imported = server.import(json!({"inline": template})).await;
    browser.goto(&format!("{}/#/", server.url)).await;
    browser
        .until("document.querySelector('.org .name')?.textContent.startsWith('<img')")
        .await;
    browser.click(".org .name").await;
    browser
        .until("document.querySelector('.row .name')?.textContent.startsWith('<img')")
        .await;
    browser.click(".row a").await;
    browser
        .until("document.querySelector('#workspace-name')?.textContent.startsWith('<img')")
        .await;
    browser.press("Take down…").await;
    browser
        .until("document.querySelector('dialog h2').textContent.includes('<img')")
        .await;
    let alien =
        "document.querySelectorAll('main img, dialog img, [onerror], a[href^=javascript]').length";
    assert_eq!(browser.eval(alien).await, 0);
    assert_eq!(browser.eval("window.hacked").await, Value::Null);
    take_down(&server, imported["org"].as_str().unwrap()).await;
}

/// Presses Tab until the focused element matches the selector.
async fn tab_to(browser: &Browser, css: &str) {
    for _ in 0..80 {
        browser.key(Key::Tab).await;
        let is_there = browser
            .eval(&format!("document.activeElement.matches({css:?})"))
            .await;
        if is_there == true {
            return;
        }
    }
    panic!("Tab never moves the focus to {css}");
}

#[tokio::test]
async fn the_page_works_with_the_keyboard_alone() {
    let operator = Operator::new();
    let server = server(&operator);
    let browser = Browser::open(1280, 900).await;
    browser.goto(&server.url).await;
    browser.find(".empty").await;
    tab_to(&browser, "header a[href='#/import']").await;
    let outline = "getComputedStyle(document.activeElement).outlineStyle";
    assert_eq!(browser.eval(outline).await, "solid");
    browser.key(Key::Enter).await;
    browser.find(".template").await;
    tab_to(&browser, ".template input").await;
    browser.key(' ').await;
    tab_to(&browser, ".variable input[type=password]").await;
    for letter in "k3y".chars() {
        browser.key(letter).await;
    }
    browser.key(Key::Enter).await;
    browser.until("document.activeElement.id === 'plan'").await;
    tab_to(&browser, ".outcome .primary").await;
    browser.key(Key::Enter).await;
    browser.until(ALL_RUN).await;
    tab_to(&browser, ".tree .row a").await;
    let focused = "document.activeElement.textContent";
    assert_eq!(browser.eval(focused).await, "Lead");
    browser.key(Key::Down).await;
    assert_eq!(browser.eval(focused).await, "Scout");
    browser.key(Key::Left).await;
    assert_eq!(browser.eval(focused).await, "Lead");
    browser.key(Key::Left).await;
    let is_open = "document.querySelector('.toggle').getAttribute('aria-expanded')";
    assert_eq!(browser.eval(is_open).await, "false");
    browser.key(Key::Down).await;
    assert_eq!(browser.eval(focused).await, "Lead");
    browser.key(Key::Right).await;
    assert_eq!(browser.eval(is_open).await, "true");
    browser.key(Key::End).await;
    browser.key(Key::Enter).await;
    browser
        .until("document.activeElement.id === 'workspace-name'")
        .await;
    // The dialog traps the focus and returns it.
    tab_to(&browser, "header a").await;
    tab_to(&browser, ".danger").await;
    browser.key(Key::Enter).await;
    browser.find("dialog[open]").await;
    browser.key(Key::Escape).await;
    browser
        .until("!document.querySelector('dialog') && document.activeElement.matches('.danger')")
        .await;
    take_down(&server, "acme").await;
}

#[tokio::test]
async fn a_narrow_window_needs_no_sideways_scrolling() {
    let operator = Operator::new();
    let server = server(&operator);
    let long = "A".repeat(60);
    let deep = format!(
        "name: {long}\ndefaults: {{runtime: x}}\nworkspaces: [{{name: {long}, children: [{{name: {long}, children: [{{name: {long}, children: [{{name: {long}}}]}}]}}]}}]\n"
    );
    let imported = server
        .import(json!({"inline": deep, "ready_seconds": 30}))
        .await;
    let org = imported["org"].as_str().unwrap();
    let status = server.get(&format!("/v1/orgs/{org}")).await;
    let key = status["workspaces"][3]["key"].as_str().unwrap();
    let browser = Browser::open(360, 740).await;
    let places = [
        ("#/".to_owned(), ".org"),
        ("#/import".to_owned(), ".template"),
        (format!("#/orgs/{org}"), ".row[data-state=running]"),
        (format!("#/orgs/{org}/{key}"), ".workspace .log"),
    ];
    for (hash, shown) in places {
        browser.goto("about:blank").await;
        browser.goto(&format!("{}/{hash}", server.url)).await;
        browser.find(shown).await;
        fits(&browser, &hash).await;
    }
    // A small screen shows only the workspace, with a link back to the list.
    assert_eq!(
        browser
            .eval("document.querySelector('.tree').checkVisibility()")
            .await,
        false
    );
    browser.press("‹ All workspaces").await;
    browser
        .until("document.querySelector('.tree').checkVisibility()")
        .await;
    browser.press("Take down…").await;
    fits(&browser, "the question").await;
    browser.press("Cancel").await;
    browser.goto(&format!("{}/#/import", server.url)).await;
    browser.click(".template input").await;
    browser.press("Show the plan").await;
    browser.find(".plan .notice").await;
    fits(&browser, "the plan").await;
    take_down(&server, org).await;
}

async fn fits(browser: &Browser, what: &str) {
    assert_eq!(browser.eval("innerWidth").await, 360);
    let wider = "document.scrollingElement.scrollWidth - document.scrollingElement.clientWidth";
    assert_eq!(
        browser.eval(wider).await,
        0,
        "{what} is wider than the screen"
    );
}

/// Finds texts whose contrast with their background is below 4.5 (WCAG 2.2, 1.4.3; large text would need only 3).
const FAINT: &str = r"
(() => {
  const canvas = Object.assign(document.createElement('canvas'), {width: 1, height: 1}).getContext('2d', {willReadFrequently: true});
  const rgba = (colour) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  };
  const ground = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = rgba(getComputedStyle(at).backgroundColor);
      if (colour[3] === 1) return colour;
    }
    return rgba('Canvas');
  };
  const light = ([r, g, b]) => [r, g, b].map((part) => part / 255)
    .map((part) => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4)
    .reduce((sum, part, index) => sum + part * [0.2126, 0.7152, 0.0722][index], 0);
  const contrast = (one, other) => {
    const [low, high] = [light(one), light(other)].sort((a, b) => a - b);
    return (high + 0.05) / (low + 0.05);
  };
  const texts = [...document.querySelectorAll('body *')].filter((element) => element.checkVisibility({visibilityProperty: true})
    && !element.closest('.unseen, .skip')
    && [...element.childNodes].some((node) => node.nodeType === Node.TEXT_NODE && node.data.trim() !== ''));
  return {
    count: texts.length,
    faint: texts.map((element) => [contrast(rgba(getComputedStyle(element).color), ground(element)), element.outerHTML.slice(0, 120)])
      .filter(([ratio]) => ratio < 4.5),
  };
})()";

#[tokio::test]
async fn text_contrast_is_sufficient_in_light_and_dark() {
    let operator = Operator::new();
    let server = server(&operator);
    let mixed = "name: Mixed\ndefaults: {runtime: x}\nworkspaces: [{name: Good}, {name: Elsewhere, external: true, url: 'https://example.org/'}]\n";
    server
        .import(json!({"inline": mixed, "ready_seconds": 30}))
        .await;
    let browser = Browser::open(1280, 900).await;
    let mut grounds = Vec::new();
    for scheme in ["light", "dark"] {
        browser.prefer(scheme).await;
        for (hash, shown) in [
            ("#/", ".org"),
            ("#/orgs/mixed/good", ".workspace .log"),
            ("#/import?template=pair", ".template"),
        ] {
            browser.goto("about:blank").await;
            browser.goto(&format!("{}/{hash}", server.url)).await;
            browser.find(shown).await;
            browser
                .until("document.querySelector('#connection').dataset.state === 'live'")
                .await;
            if hash.starts_with("#/import") {
                browser.press("Show the plan").await;
                browser.find(".plan .notice").await;
            }
            let seen = browser.eval(FAINT).await;
            assert!(seen["count"].as_u64().unwrap() > 5, "{hash}: {seen}");
            assert_eq!(seen["faint"], json!([]), "{scheme} {hash}");
        }
        grounds.push(
            browser
                .eval("getComputedStyle(document.body).backgroundColor")
                .await,
        );
    }
    assert_ne!(grounds[0], grounds[1]);
    take_down(&server, "mixed").await;
}

#[tokio::test]
async fn an_org_can_be_taken_down_from_the_page() {
    let operator = Operator::new();
    let server = server(&operator);
    server
        .import(json!({"inline": TWO, "ready_seconds": 30}))
        .await;
    let browser = Browser::open(1280, 900).await;
    browser.goto(&format!("{}/#/orgs/acme", server.url)).await;
    browser.until(ALL_RUN).await;
    browser.press("Take down…").await;
    let question = browser.text("dialog").await;
    assert!(question.contains("Take down “Acme”?"), "{question}");
    assert_eq!(
        browser
            .eval("document.querySelector('dialog input').checked")
            .await,
        false,
        "volumes are kept by default"
    );
    browser.press("Cancel").await;
    browser.until("!document.querySelector('dialog')").await;
    assert_eq!(server.get("/v1/orgs").await["orgs"][0]["up"], 2);
    browser.press("Take down…").await;
    browser.click("dialog input").await;
    browser.press("Take “Acme” down").await;
    browser
        .until("document.querySelector('.notices')?.textContent.includes('not on this host')")
        .await;
    assert_eq!(server.get("/v1/orgs").await["orgs"], json!([]));
}

#[tokio::test]
async fn the_page_keeps_a_token_in_the_tab_until_it_is_forgotten() {
    let operator = Operator::new();
    let server = server(&operator);
    let browser = Browser::open(1280, 900).await;
    // The replaced `fetch` answers like a server that requires a token.
    browser
        .before_each_page(
            "const send = window.fetch;
             window.fetch = (path, how) => how.headers.authorization === 'Bearer right' ? send(path, how)
               : Promise.resolve(new Response(JSON.stringify({title: 'Unauthorized', detail: 'a token, please'}), {status: 401}));",
        )
        .await;
    browser.goto(&server.url).await;
    browser.fill("dialog input", "wrong").await;
    browser.press("Use this token").await;
    browser.find("dialog .notice.bad").await;
    browser.fill("dialog input", "right").await;
    browser.press("Use this token").await;
    browser.find(".empty").await;
    assert_eq!(browser.eval("localStorage.length").await, 0);
    browser.client.refresh().await.unwrap();
    browser.find(".empty").await;
    assert!(browser.client.find(Locator::Css("dialog")).await.is_err());
    browser.press("Forget token").await;
    browser.find("dialog input").await;
    assert_eq!(browser.eval("sessionStorage.length").await, 0);
    browser.key(Key::Escape).await;
    // The page does not ask again by itself.
    browser
        .until("!document.querySelector('#enter-token').hidden && document.querySelector('main .notice.bad')")
        .await;
    assert!(browser.client.find(Locator::Css("dialog")).await.is_err());
}

/// Functions that turn text into markup or code. The page's policy would block scripts but not markup.
const DANGEROUS: [&str; 9] = [
    "innerHTML",
    "outerHTML",
    "insertAdjacentHTML",
    "document.write",
    "DOMParser",
    "createContextualFragment",
    "eval(",
    "new Function",
    "localStorage",
];

#[test]
fn the_page_has_no_way_to_parse_markup() {
    let folder = crate::support::root().join("host/src/http/ui");
    let mut count = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "js") {
            continue;
        }
        count += 1;
        let text = std::fs::read_to_string(&path).unwrap();
        for word in DANGEROUS {
            assert!(!text.contains(word), "{}: {word}", path.display());
        }
    }
    assert!(count > 10);
}

#[tokio::test]
async fn steps_failures_and_a_cancel_are_shown() {
    let operator = Operator::new();
    let gate = operator.home.path().join("gate");
    let config = format!(
        "[runtimes.slow]\ncommand = ['/bin/sh', '-c', 'until [ -e {} ]; do /bin/sleep 0.1; done; exec {program} demo-runtime']\nread = ['{program}']\nhealth = '/health'\n\
         [runtimes.crash]\ncommand = ['/bin/sh', '-c', 'exit 3']\nhealth = '/health'\n",
        gate.display(),
        program = env!("CARGO_BIN_EXE_orghost"),
    );
    let config = operator.file("orghost.toml", config).display().to_string();
    let server = Server::start(&operator, &["--config", &config, "--engine", "local"]);
    let lab = "name: Lab\nworkspaces: [{name: Slow, runtime: slow}, {name: Crash, runtime: crash, children: [{name: Child, runtime: slow}]}]\n";
    let body = json!({"inline": lab, "ready_seconds": 600});
    let (status, accepted) = server.ask(Method::POST, "/v1/orgs", Some(body)).await;
    assert_eq!(status, 202, "{accepted}");
    let browser = Browser::open(1280, 900).await;
    browser.goto(&format!("{}/#/orgs/lab", server.url)).await;
    browser
        .until("document.querySelector('[data-key=slow] .steps')?.getAttribute('aria-label') === 'step 6 of 6: ready'")
        .await;
    browser
        .until("document.querySelector('[data-key=crash]').dataset.state === 'failed'")
        .await;
    browser
        .until("document.querySelector('[data-key=\"crash/child\"]').dataset.state === 'skipped'")
        .await;
    let why = browser.text("[data-key=crash] .detail").await;
    assert!(why.starts_with("ready: "), "{why}");
    browser
        .until("document.querySelector('.operation-now progress')?.value === 2")
        .await;
    browser.click(".operation-now button").await;
    browser
        .until("document.querySelector('.operations [data-state=cancelled]') && !document.querySelector('.operation-now')")
        .await;
    take_down(&server, "lab").await;
}

#[tokio::test]
async fn a_log_can_be_followed_and_stopped() {
    let operator = Operator::new();
    let server = server(&operator);
    server
        .import(json!({"inline": TWO, "ready_seconds": 30}))
        .await;
    let browser = Browser::open(1280, 900).await;
    // The workspace prints without end; the test records the page's requests.
    browser
        .before_each_page(
            "const send = window.fetch;
             window.asked = [];
             window.fetch = (path, how) => {
               if (how.method === 'POST') window.asked.push(path.replace(/[0-9a-f]{32}/, 'ID'));
               if (!path.includes('/logs?follow=true')) return send(path, how);
               let timer;
               const lines = new ReadableStream({
                 start(controller) {
                   how.signal.addEventListener('abort', () => { window.isCut = true; clearInterval(timer); controller.error(new DOMException('', 'AbortError')); });
                   timer = setInterval(() => controller.enqueue(new TextEncoder().encode('\\u001b[32mworking <b>\\u001b[0m\\n')), 20);
                 },
               });
               return Promise.resolve(new Response(lines));
             };",
        )
        .await;
    browser
        .goto(&format!("{}/#/orgs/acme/lead", server.url))
        .await;
    browser
        .until("document.querySelector('.log')?.textContent.startsWith('working <b>\\nworking <b>\\n')")
        .await;
    // The log stays scrolled to its end.
    browser
        .until("(({scrollHeight: h, scrollTop: t, clientHeight: c}) => t > 0 && h - t - c < 24)(document.querySelector('.log'))")
        .await;
    browser.press("Stop following").await;
    browser.until("window.isCut").await;
    browser.press("Follow").await;
    browser.press("Restart").await;
    browser
        .until("window.asked.join() === '/v1/workspaces/ID/restart'")
        .await;
    // Selecting another workspace shows another log.
    browser.eval("window.isCut = false").await;
    browser.press("Scout").await;
    browser.until("window.isCut").await;
    take_down(&server, "acme").await;
}
