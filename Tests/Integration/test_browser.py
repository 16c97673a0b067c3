# The front door in a real browser: Chromium without a window, through nginx, with and without
# scripts and cookies. What it looked like is kept when a test fails, and with
# GATEHOUSE_SCREENSHOTS=DIRECTORY always.

import base64
import hashlib
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
import unittest

from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from harness import Gatehouse, Nginx, after, certificates, scratch
from visitor import call

PASSWORD = "a fine day for sailing"
WAIT_SECONDS = 20


def certificate_hash():
    """The hash of the development certificate's key, for which Chromium makes an exception.

    To ignore bad certificates altogether would not do: then nothing is cached, and no test of the
    back button would say anything.
    """
    key = subprocess.run(
        ["openssl", "x509", "-in", certificates() / "server.pem", "-noout", "-pubkey"],
        check=True, capture_output=True).stdout
    der = subprocess.run(["openssl", "pkey", "-pubin", "-outform", "der"], input=key, check=True,
                         capture_output=True).stdout
    return base64.b64encode(hashlib.sha256(der).digest()).decode()


def program(name):
    path = shutil.which(name)
    assert path, f"{name} is not installed: Deploy/install-packages browser"
    return path


class BrowserTest(unittest.TestCase):
    FRONT = {}

    @classmethod
    def setUpClass(cls):
        cls.gatehouse = Gatehouse(cls, front=cls.FRONT).start()
        cls.nginx = Nginx(cls, cls.gatehouse.tcp, front="http://%s:%d" % cls.gatehouse.front)
        cls.origin = f"https://localhost:{cls.nginx.address[1]}"
        cls.pictures = pathlib.Path(
            os.environ.get("GATEHOUSE_SCREENSHOTS")
            or tempfile.mkdtemp(prefix="gatehouse-screenshots-", dir="/tmp"))
        cls.pictures.mkdir(exist_ok=True)
        cls.failed = False
        after(cls, cls.put_away)
        cls.numbers = iter(range(1000))

    @classmethod
    def put_away(cls):
        if cls.failed:
            print(f"screenshots: {cls.pictures}", file=sys.stderr)
        elif not os.environ.get("GATEHOUSE_SCREENSHOTS"):
            shutil.rmtree(cls.pictures)

    def browser(self, width=1000, preferences=None, profile=None):
        """A new browser, with a profile of its own unless it has one."""
        options = webdriver.ChromeOptions()
        options.binary_location = program("chromium")
        for argument in [
                "--headless=new", f"--window-size={width},800", "--lang=en",
                f"--user-data-dir={profile or scratch(self)}", "--disable-dev-shm-usage",
                f"--ignore-certificate-errors-spki-list={certificate_hash()}",
                # It must not call anybody else.
                "--disable-background-networking", "--disable-component-update",
                "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost"]:
            options.add_argument(argument)
        if os.geteuid() == 0:
            options.add_argument("--no-sandbox")  # Chromium has none for root.
        if preferences:
            options.add_experimental_option("prefs", preferences)
        driver = webdriver.Chrome(options=options, service=Service(program("chromedriver")))
        self.addCleanup(driver.quit)
        driver.set_page_load_timeout(WAIT_SECONDS)
        self.driver = driver
        return driver

    def run(self, result=None):
        before = len(result.failures) + len(result.errors)
        outcome = super().run(result)
        if len(result.failures) + len(result.errors) > before:
            type(self).failed = True
        return outcome

    # What people do.

    def new_user(self):
        name = f"person{next(self.numbers)}"
        response = call(self.gatehouse.front, "POST", "/auth/v1/register",
                        {"username": name, "password": PASSWORD})
        self.assertEqual(response.status, 201, response)
        return name

    def open(self, path):
        self.driver.get(self.origin + path)

    def picture(self, name):
        test = self.id().split(".")[-1].removeprefix("test_")
        self.driver.save_screenshot(str(self.pictures / f"{test}-{name}.png"))

    def fill(self, **fields):
        for name, value in fields.items():
            field = self.driver.find_element(By.NAME, name)
            field.clear()
            field.send_keys(value)

    def press(self, label):
        """Presses the button with this text and waits for the next page."""
        [button] = [one for one in self.driver.find_elements(By.TAG_NAME, "button")
                    if one.text == label]
        page = self.driver.find_element(By.TAG_NAME, "html")
        button.click()
        self.wait(lambda _: self.is_gone(page))

    @staticmethod
    def is_gone(element):
        try:
            element.is_enabled()
            return False
        except Exception:  # What stale elements raise differs while a page is being replaced.
            return True

    def wait(self, condition, every=0.05):
        # What is looked at may belong to the page that is just being replaced.
        return WebDriverWait(self.driver, WAIT_SECONDS, every,
                             [StaleElementReferenceException]).until(condition)

    def follow(self, text):
        page = self.driver.find_element(By.TAG_NAME, "html")
        self.driver.find_element(By.PARTIAL_LINK_TEXT, text).click()
        self.wait(lambda _: self.is_gone(page))

    @property
    def path(self):
        return self.driver.current_url.removeprefix(self.origin)

    @property
    def text(self):
        return self.driver.find_element(By.TAG_NAME, "body").text

    @property
    def alert(self):
        return self.driver.find_element(By.CSS_SELECTOR, "[role=alert]").text

    def sign_in(self, name, path="/"):
        self.open(path)
        self.fill(username=name, password=PASSWORD)
        self.press("Sign in")


class Browser(BrowserTest):
    def test_from_registering_to_signing_out(self):
        self.the_whole_story()

    def test_the_same_without_scripts(self):
        self.browser(preferences={"webkit.webprefs.javascript_enabled": False,
                                  "profile.managed_default_content_settings.javascript": 2})
        # That scripts are off is seen, not believed.
        self.driver.get("data:text/html,<p>off</p><script>document.body.textContent='on'</script>")
        self.assertEqual(self.text, "off")
        self.the_whole_story()

    def the_whole_story(self):
        if not hasattr(self, "driver"):
            self.browser()
        name = f"grace{next(self.numbers)}"
        self.open("/tea?with=milk&sugar=2")
        self.assertTrue(self.path.startswith("/auth/login"), self.path)
        self.picture("1-sign-in")

        self.follow("account")
        self.assertTrue(self.path.startswith("/auth/register"), self.path)
        self.picture("2-register")
        self.fill(username=name, password="too short")
        self.press("Make an account")
        self.assertIn("15", self.alert)
        self.picture("3-too-short")
        self.fill(username=name, password=PASSWORD)
        self.press("Make an account")
        self.assertIn("sign in", self.text.lower())
        self.picture("4-registered")

        self.open("/tea?with=milk&sugar=2")
        self.fill(username=name, password="not the password")
        self.press("Sign in")
        self.assertIn("wrong", self.alert)
        self.assertEqual(
            self.driver.find_element(By.NAME, "username").get_attribute("value"), name)
        self.picture("5-wrong-password")
        self.fill(password=PASSWORD)
        self.press("Sign in")
        self.assertEqual(self.path, "/tea?with=milk&sugar=2")
        self.assertIn(f"Hello, {name}.", self.text)
        self.picture("6-the-site")

        self.follow("Your account")
        self.assertEqual(self.driver.find_element(By.TAG_NAME, "strong").text, name)
        self.picture("7-account")
        self.press("Sign out")
        self.assertNotIn(name, self.text)
        self.picture("8-signed-out")
        self.open("/tea")
        self.assertTrue(self.path.startswith("/auth/login"), self.path)

    def test_the_back_button_shows_nothing_of_an_ended_session(self):
        self.browser()
        name = self.new_user()
        self.sign_in(name, "/first")
        self.open("/second")
        self.open("/auth/account")
        self.assertIn(name, self.text)
        self.press("Sign out")
        for step in range(4):
            self.driver.back()
            self.wait(lambda driver: driver.execute_script("return document.readyState")
                      == "complete")
            self.picture(f"back-{step}")
            self.assertNotIn(name, self.text, f"{step + 1} steps back, at {self.path}")
            self.assertNotIn("Hello", self.text)

    def test_the_second_person_never_sees_the_first(self):
        self.browser()
        first, second = self.new_user(), self.new_user()
        self.sign_in(first)
        self.open("/auth/login")
        self.fill(username=second, password=PASSWORD)
        self.press("Sign in")
        self.open("/")
        self.assertIn(f"Hello, {second}.", self.text)
        [session] = self.gatehouse.json("sessions", "list", first)["sessions"]
        self.assertEqual(session["state"], "revoked")

    # Promise: device-preferences
    def test_preferences_are_kept_without_scripts_and_survive_signing_out(self):
        self.browser(preferences={"webkit.webprefs.javascript_enabled": False,
                                  "profile.managed_default_content_settings.javascript": 2})
        name = self.new_user()
        self.sign_in(name)
        self.assertNotIn("expiry", self.driver.get_cookie("__Host-gatehouse-device"))
        self.open("/auth/account")
        self.picture("before")
        self.fill(new_key="theme", new_value="dark & <quiet>")
        self.press("Save preferences")
        self.assertIn("saved", self.text)
        self.picture("saved")
        # Chromium keeps it no longer than 400 days; it is asked for 180.
        cookie = self.driver.get_cookie("__Host-gatehouse-device")
        self.assertAlmostEqual(cookie["expiry"], time.time() + 180 * 86_400, delta=600)
        self.assertTrue(cookie["httpOnly"] and cookie["secure"], cookie)
        self.press("Sign out")
        self.sign_in(name, "/auth/account")
        field = self.driver.find_element(By.NAME, "preference.theme")
        self.assertEqual(field.get_attribute("value"), "dark & <quiet>")
        self.fill(new_key="Not a name", new_value="typed")
        self.press("Save preferences")
        self.assertIn("name is 1 to 32", self.alert)
        self.picture("refused")
        self.open("/auth/account")
        self.press("Forget this browser")
        self.assertIn("forgotten", self.text)
        self.assertEqual(self.driver.find_elements(By.NAME, "preference.theme"), [])
        self.assertIsNone(self.driver.get_cookie("__Host-gatehouse-device"))
        self.picture("forgotten")

    def test_a_browser_that_blocks_cookies_is_told_so_and_not_let_in(self):
        self.browser(preferences={"profile.default_content_setting_values.cookies": 2})
        name = self.new_user()
        self.sign_in(name)
        self.assertIn("cookies", self.alert)
        self.picture("told")
        self.open("/")
        self.assertNotIn("Hello", self.text)
        self.assertEqual(self.driver.get_cookies(), [])
        self.assertEqual(self.gatehouse.json("sessions", "list", name)["sessions"], [])

    def test_with_the_keyboard_alone(self):
        self.browser()
        name = self.new_user()
        self.open("/tea")
        # The first field has the focus; Tab leads to the second, Enter sends the form.
        self.assertEqual(self.driver.switch_to.active_element.get_attribute("name"), "username")
        self.driver.switch_to.active_element.send_keys(name + Keys.TAB)
        self.assertEqual(self.driver.switch_to.active_element.get_attribute("name"), "password")
        self.driver.switch_to.active_element.send_keys(PASSWORD + Keys.ENTER)
        self.wait(lambda _: self.path == "/tea")
        self.assertIn(f"Hello, {name}.", self.text)

    def test_pages_fit_small_screens_and_large_letters(self):
        self.browser()
        self.sign_in(self.new_user())
        for path in ["/auth/login", "/auth/register", "/auth/logout", "/auth/account",
                     "/auth/nothing"]:
            for width, zoom in [(320, 1), (320, 2), (1000, 1)]:
                with self.subTest(path=path, width=width, zoom=zoom):
                    # WCAG 2.2, 1.4.10: no scrolling sideways at 320 CSS pixels.
                    self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {
                        "width": width, "height": 800, "deviceScaleFactor": zoom, "mobile": True})
                    self.open(path)
                    wide = self.driver.execute_script(
                        "return document.documentElement.scrollWidth")
                    self.assertLessEqual(wide, width)
                    self.picture(f"{path.rsplit('/', 1)[1]}-{width}-{zoom}")

    def test_a_dark_screen(self):
        self.browser()
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {
            "features": [{"name": "prefers-color-scheme", "value": "dark"}]})
        self.sign_in("nobody")
        self.assertIn("wrong", self.alert)
        self.picture("wrong-password")

    def test_the_console_has_nothing_to_complain_about(self):
        self.browser()
        for path in ["/auth/login", "/auth/register", "/auth/logout"]:
            with self.subTest(path):
                self.open(path)
                # A style, script or form that the pages' own policy forbids would stand here.
                self.assertEqual([entry for entry in self.driver.get_log("browser")
                                  if "favicon" not in entry["message"]], [])
