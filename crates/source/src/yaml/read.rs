//! From parser events to a tree.

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, ScanError, Tag};
use std::borrow::Cow;
use std::collections::HashMap;

use super::{Layout, LineIndex, Node, Scalar, Style, Value};
use crate::{Finding, Place, Position, Span};

/// What a reader allows.
#[derive(Debug, Clone)]
pub struct Options {
    /// The largest text, in bytes.
    pub max_bytes: usize,
    /// The deepest nesting of lists and mappings.
    pub max_depth: usize,
    /// The most nodes after aliases have been expanded.
    pub max_nodes: usize,
    /// What counts as the same key twice.
    pub duplicate_keys: DuplicateKeys,
    /// Whether `<<: *base` puts the entries of another mapping here.
    pub merge_keys: bool,
    /// Whether `&name` may name a value.
    pub anchors: bool,
    /// Whether a comment may follow a bracket without a blank: `[a]# like this`.
    pub glued_comments: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            max_bytes: 1 << 20,
            max_depth: 100,
            max_nodes: 50_000,
            duplicate_keys: DuplicateKeys::Refuse,
            merge_keys: false,
            anchors: true,
            glued_comments: false,
        }
    }
}

/// What counts as the same key twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DuplicateKeys {
    /// The same text; the second is an error and left out.
    Refuse,
    /// The same text in whatever case; the second is an error and left out.
    RefuseIgnoringCase,
    /// Nothing; both are in the tree.
    Keep,
}

/// Returns the bytes of a file as text without a byte order mark, or where they are not UTF-8.
pub fn decode<'a>(path: &str, bytes: &'a [u8]) -> Result<&'a str, Finding> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let good = std::str::from_utf8(&bytes[..error.valid_up_to()])
            .expect("everything before the fault is valid");
        let at = LineIndex::new(good).position(good, good.len());
        let place = Place::at(path, Span::at(at));
        Finding::error("not-utf-8", "the file is not UTF-8 text", place)
            .label("the first byte that is not")
            .help("save the file as UTF-8")
    })?;
    Ok(text.strip_prefix('\u{feff}').unwrap_or(text))
}

/// Reads a text that holds one document. An empty text is no document and no finding.
pub fn read(path: &str, text: &str, options: &Options) -> (Option<Node>, Vec<Finding>) {
    let (mut documents, mut findings) = read_all(path, text, options);
    if let Some(second) = documents.get(1) {
        let place = Place::at(path, Span::at(second.span.start));
        findings.push(
            Finding::error("several-documents", "the file holds more than one document", place)
                .label("the second begins here")
                .help("remove the `---` line, or put the second document in a file of its own"),
        );
        documents.truncate(1);
    }
    (documents.pop(), findings)
}

/// Reads a text that holds any number of documents.
pub fn read_all(path: &str, text: &str, options: &Options) -> (Vec<Node>, Vec<Finding>) {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if text.len() > options.max_bytes {
        let message = format!(
            "the file has {} bytes; {} are the most that is read",
            text.len(),
            options.max_bytes
        );
        return (Vec::new(), vec![Finding::error("file-too-large", message, Place::file(path))]);
    }
    // The parser takes a NUL for the end of the text and would leave out the rest in silence.
    if let Some(at) = memchr::memchr(0, text.as_bytes()) {
        let place = Place::at(path, Span::at(LineIndex::new(text).position(text, at)));
        let finding = Finding::error("yaml-syntax", "the file holds a NUL character", place)
            .help("remove the character; perhaps the file is not text");
        return (Vec::new(), vec![finding]);
    }
    let mut text = Cow::Borrowed(text);
    let mut mendings = if options.glued_comments { MOST_MENDINGS } else { 0 };
    loop {
        let mut builder = Builder {
            path,
            text: &text,
            lines: LineIndex::new(&text),
            options,
            findings: Vec::new(),
            documents: Vec::new(),
            open: Vec::new(),
            anchors: HashMap::new(),
            nodes: 0,
            anchored: 0,
            cursor: (Position::new(1, 1), 0),
            glued_comment: None,
        };
        builder.run();
        let glued_comment = builder.glued_comment.filter(|_| mendings > 0);
        let outcome = (builder.documents, builder.findings);
        let Some(at) = glued_comment else { return outcome };
        // The blank takes the place of the `#`, which takes that of the first character behind it,
        // so that nothing moves.
        let behind = text[at + 1..].chars().next().filter(|c| !matches!(c, '\n' | '\r'));
        let end = at + 1 + behind.map_or(0, char::len_utf8);
        text.to_mut().replace_range(at..end, if behind.is_some() { " #" } else { " " });
        mendings -= 1;
    }
}

/// How many glued comments are set apart; each costs reading the text once more.
const MOST_MENDINGS: usize = 20;

/// Builds trees from events, with a stack of its own, so that depth is a number and not a crash.
struct Builder<'a> {
    path: &'a str,
    text: &'a str,
    lines: LineIndex,
    options: &'a Options,
    findings: Vec<Finding>,
    documents: Vec<Node>,
    open: Vec<Open>,
    anchors: HashMap<usize, Node>,
    nodes: usize,
    /// How many nodes the anchors hold.
    anchored: usize,
    /// The position that was last asked for, and its byte.
    cursor: (Position, usize),
    /// The byte of a `#` that follows a bracket without a blank.
    glued_comment: Option<usize>,
}

/// A list or mapping whose end has not come yet.
struct Open {
    start: Position,
    tag: Option<String>,
    anchor: usize,
    content: Content,
}

enum Content {
    Sequence(Vec<Node>),
    Mapping {
        entries: Vec<(Node, Node)>,
        /// Which entry has a key of this name.
        names: HashMap<String, usize>,
        key: Option<Node>,
    },
}

/// Something after which reading on makes no sense; its finding has been noted.
struct Stop;

impl Builder<'_> {
    fn run(&mut self) {
        let mut parser = Parser::new_from_str(self.text);
        while let Some(event) = parser.next_event() {
            let outcome = match event {
                Ok((event, span)) => self.on_event(event, span),
                Err(error) => {
                    self.syntax_error(&error);
                    Err(Stop)
                }
            };
            if outcome.is_err() {
                // What is whole so far is of use to nobody; half a document misleads.
                self.open.clear();
                return;
            }
        }
    }

    fn on_event(&mut self, event: Event<'_>, span: saphyr_parser::Span) -> Result<(), Stop> {
        let start = self.position(span.start);
        if let Event::Scalar(_, _, anchor @ 1.., _)
        | Event::SequenceStart(anchor @ 1.., _)
        | Event::MappingStart(anchor @ 1.., _) = &event
            && !self.options.anchors
        {
            return Err(self.anchor_refused(*anchor, start));
        }
        match event {
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Ok(()),
            Event::DocumentStart(_) => {
                self.anchors.clear();
                Ok(())
            }
            Event::Alias(anchor) => self.alias(anchor, Span::new(start, self.position(span.end))),
            Event::Scalar(text, style, anchor, tag) => {
                let node = self.scalar(text, style, tag.as_deref(), span);
                self.add(node, anchor)
            }
            Event::SequenceStart(anchor, tag) => {
                self.begin(start, anchor, tag, Content::Sequence(Vec::new()))
            }
            Event::MappingStart(anchor, tag) => {
                let content =
                    Content::Mapping { entries: Vec::new(), names: HashMap::new(), key: None };
                self.begin(start, anchor, tag, content)
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(span),
        }
    }

    fn scalar(
        &mut self,
        text: Cow<'_, str>,
        style: ScalarStyle,
        tag: Option<&Tag>,
        span: saphyr_parser::Span,
    ) -> Node {
        let style = match style {
            ScalarStyle::Plain => Style::Plain,
            ScalarStyle::SingleQuoted => Style::SingleQuoted,
            ScalarStyle::DoubleQuoted => Style::DoubleQuoted,
            ScalarStyle::Literal => Style::Literal,
            ScalarStyle::Folded => Style::Folded,
        };
        let mut text = text.into_owned();
        let mut bytes = self.byte(span.start)..self.byte(span.end);
        if matches!(style, Style::Literal | Style::Folded) && self.is_cut_off(&text, bytes.end) {
            text.pop();
        }
        let mut span = Span::new(self.position(span.start), self.position(span.end));
        if style == Style::Plain && text.is_empty() {
            span = self.after_indicator(span.start, bytes.start);
        }
        if matches!(style, Style::Literal | Style::Folded)
            && let Some((header, byte)) = self.header(span.start, bytes.start)
        {
            span.start = header;
            bytes.start = byte;
        }
        let raw = self.text.get(bytes).unwrap_or_default();
        let layout = Layout::find(raw, span.start, &text, style);
        Node {
            span,
            tag: tag.map(tag_text),
            alias: None,
            value: Value::Scalar(Scalar { text, style, layout }),
        }
    }

    /// The position of a marker; the parser may end on a line behind the last one.
    fn position(&self, marker: Marker) -> Position {
        let line = (marker.line() as u32).max(1);
        if line > self.lines.lines() {
            return self.lines.position(self.text, self.text.len());
        }
        Position::new(line, marker.col() as u32 + 1)
    }

    /// The byte of a marker. Events come in the order of the text, so going on from the last one
    /// asked for keeps a text of one long line from being walked again for each.
    fn byte(&mut self, marker: Marker) -> usize {
        let wanted = self.position(marker);
        let line_start = Position::new(wanted.line, 1);
        let (mut from, mut byte) = self.cursor;
        if from.line != wanted.line || from.column > wanted.column {
            (from, byte) = (line_start, self.lines.offset(self.text, line_start));
        }
        let line_end = self
            .lines
            .line(self.text, wanted.line)
            .map_or(self.text.len(), |line| self.lines.offset(self.text, line_start) + line.len());
        let rest = self.text.get(byte..line_end).unwrap_or_default();
        let skipped = (wanted.column - from.column) as usize;
        let found = byte + rest.char_indices().nth(skipped).map_or(rest.len(), |(at, _)| at);
        self.cursor = (wanted, found);
        found
    }

    /// Where the `|` or `>` of a block stands, given where the parser says the block begins: that
    /// is its first line of text, unless an anchor or a tag stands before the header.
    fn header(&self, begins: Position, byte: usize) -> Option<(Position, usize)> {
        // Text may begin as a header does, but a line of its own below a header is text.
        let line = self.text[..byte].rfind(['\n', '\r']).map_or(0, |at| at + 1);
        let is_alone = self.text[line..byte].trim_matches([' ', '\t']).is_empty();
        if !is_alone && self.text[byte..].starts_with(['|', '>', '&', '!']) {
            return None;
        }
        let above = (1..begins.line).rev();
        let mut lines = above.filter_map(|line| Some((line, self.lines.line(self.text, line)?)));
        let (line, text) = lines.find(|(_, text)| !text.trim().is_empty())?;
        let mut starts = text.char_indices().enumerate();
        let (column, (within, _)) = starts.find(|(_, (at, _))| {
            (*at == 0 || text[..*at].ends_with([' ', '\t'])) && is_header(&text[*at..])
        })?;
        let start = self.lines.offset(self.text, Position::new(line, 1));
        Some((Position::new(line, column as u32 + 1), start + within))
    }

    /// Whether a block is cut off by the end of the text, so that no line break ends its last line.
    /// The parser tells one all the same.
    fn is_cut_off(&self, block: &str, end: usize) -> bool {
        let line = self.text.rfind(['\n', '\r']).map_or(0, |at| at + 1);
        let last = self.text[line..].trim_start();
        let told = block.strip_suffix('\n');
        !last.is_empty() && end >= line && told.is_some_and(|told| told.ends_with(last))
    }

    /// Where nothing stands: just behind the `:`, `-` or `?` that announced something.
    fn after_indicator(&self, at: Position, byte: usize) -> Span {
        let indicator = self.text[byte..].starts_with([':', '-', '?']);
        let at = Position::new(at.line, at.column + u32::from(indicator));
        Span::new(at, at)
    }

    fn begin(
        &mut self,
        start: Position,
        anchor: usize,
        tag: Option<Cow<'_, Tag>>,
        content: Content,
    ) -> Result<(), Stop> {
        if self.open.len() >= self.options.max_depth {
            return Err(self.too_deep(start));
        }
        self.open.push(Open { start, tag: tag.as_deref().map(tag_text), anchor, content });
        Ok(())
    }

    fn end(&mut self, span: saphyr_parser::Span) -> Result<(), Stop> {
        let Some(open) = self.open.pop() else {
            return Ok(());
        };
        let (value, last) = match open.content {
            Content::Sequence(items) => {
                let last = items.last().map(written_end);
                (Value::Sequence(items), last)
            }
            Content::Mapping { entries, .. } => {
                let last = entries.last().map(|(_, value)| written_end(value));
                (Value::Mapping(entries), last)
            }
        };
        // A block ends where its last child does; only a flow collection has an end of its own.
        let closed = (!span.is_empty()).then(|| self.position(span.end));
        let end = closed.or(last).unwrap_or(open.start).max(open.start);
        let node = Node { span: Span::new(open.start, end), tag: open.tag, alias: None, value };
        self.add(node, open.anchor)
    }

    fn alias(&mut self, anchor: usize, span: Span) -> Result<(), Stop> {
        let Some(target) = self.anchors.get(&anchor) else {
            let place = Place::at(self.path, span);
            self.findings.push(
                Finding::error("yaml-alias", "the alias stands inside its own anchor", place)
                    .help("write the value out; a value cannot contain itself"),
            );
            return Err(Stop);
        };
        let size = target.size();
        if self.nodes + size > self.options.max_nodes {
            return Err(self.too_many(span.start));
        }
        let levels = if target.as_scalar().is_some() { 0 } else { target.depth() - 1 };
        if self.open.len() + levels > self.options.max_depth {
            return Err(self.too_deep(span.start));
        }
        let mut node = target.clone();
        node.alias = Some(span);
        self.nodes += size - 1;
        self.add(node, 0)
    }

    /// Puts a finished node where it belongs.
    fn add(&mut self, node: Node, anchor: usize) -> Result<(), Stop> {
        self.nodes += 1;
        if self.nodes > self.options.max_nodes {
            return Err(self.too_many(node.span.start));
        }
        if anchor > 0 {
            // Anchors inside anchors are kept several times over.
            self.anchored += node.size();
            if self.anchored > self.options.max_nodes {
                return Err(self.too_many(node.span.start));
            }
            self.anchors.insert(anchor, node.clone());
        }
        match self.open.last_mut().map(|open| &mut open.content) {
            None => self.documents.push(node),
            Some(Content::Sequence(items)) => items.push(node),
            Some(Content::Mapping { key: key @ None, .. }) => *key = Some(node),
            Some(Content::Mapping { entries, names, key }) => {
                let key = key.take().expect("the arm above takes an absent key");
                let mut merging = Merging { entries, names, options: self.options };
                let finding = if self.options.merge_keys && is_merge_key(&key) {
                    merging.merge(self.path, &node)
                } else {
                    merging.put(self.path, key, node)
                };
                self.findings.extend(finding);
            }
        }
        Ok(())
    }

    /// Refuses an anchor; the parser numbers them in the order of the text and tells no names.
    fn anchor_refused(&mut self, _number: usize, at: Position) -> Stop {
        let byte = self.lines.offset(self.text, at);
        // A name stands before what it names, or where the parser says that begins.
        let before = self.text[..byte].rfind('&').filter(|found| {
            self.text[*found + 1..byte].chars().all(|c| !c.is_control() || c == '\n' || c == '\r')
        });
        let begins = if self.text[byte..].starts_with('&') { Some(byte) } else { before };
        let name = begins.map_or("", |begins| {
            let rest = &self.text[begins + 1..];
            &rest[..rest.find(|c: char| c.is_whitespace()).unwrap_or(rest.len())]
        });
        let message = format!("Anchors are not currently supported. Remove the anchor '{name}'");
        let place = Place::at(self.path, Span::at(at));
        self.findings.push(Finding::error("yaml-anchor", message, place));
        Stop
    }

    fn too_deep(&mut self, at: Position) -> Stop {
        let most = self.options.max_depth;
        let place = Place::at(self.path, Span::at(at));
        let message = format!("lists and mappings are nested deeper than {most} levels");
        self.findings.push(Finding::error("yaml-too-deep", message, place));
        Stop
    }

    fn too_many(&mut self, at: Position) -> Stop {
        let most = self.options.max_nodes;
        let place = Place::at(self.path, Span::at(at));
        let message = format!("the file has more than {most} values once aliases are expanded");
        self.findings.push(Finding::error("yaml-too-many-values", message, place));
        Stop
    }

    fn syntax_error(&mut self, error: &ScanError) {
        let byte = self.lines.offset(self.text, self.position(*error.marker()));
        let at = self.lines.position(self.text, byte);
        if error.info() == "comments must be separated from other tokens by whitespace" {
            self.glued_comment = self.text[byte..].starts_with('#').then_some(byte);
        }
        let (message, help) = explained(error.info());
        let mut finding =
            Finding::error("yaml-syntax", message, Place::at(self.path, Span::at(at)));
        finding.help = help.map(str::to_owned);
        self.findings.push(finding);
    }
}

/// Where a node ends as written here: an alias is as long as its own name.
fn written_end(node: &Node) -> Position {
    node.alias.unwrap_or(node.span).end
}

/// Whether a text is the header of a block and nothing but a comment behind it.
fn is_header(text: &str) -> bool {
    let Some(rest) = text.strip_prefix(['|', '>']) else { return false };
    let rest = rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == '-' || c == '+');
    let comment = rest.trim_start_matches([' ', '\t']);
    comment.is_empty() || (comment.len() < rest.len() && comment.starts_with('#'))
}

fn tag_text(tag: &Tag) -> String {
    format!("{}{}", tag.handle, tag.suffix)
}

fn duplicate_key(path: &str, key: &Node, first: Position) -> Finding {
    let name = key.as_str().unwrap_or_default();
    let message = format!("the key `{name}` is already there, at {first}");
    Finding::error("duplicate-key", message, Place::at(path, key.span))
        .label("this is the second")
        .help("keep one of the two")
}

fn is_merge_key(key: &Node) -> bool {
    key.as_scalar().is_some_and(|scalar| scalar.style == Style::Plain && scalar.text == "<<")
        && key.tag.is_none()
}

/// A mapping that grows by written and by merged entries.
struct Merging<'a> {
    entries: &'a mut Vec<(Node, Node)>,
    names: &'a mut HashMap<String, usize>,
    options: &'a Options,
}

impl Merging<'_> {
    /// Adds a written entry. One that came by a merge gives way to it.
    fn put(&mut self, path: &str, key: Node, value: Node) -> Option<Finding> {
        let Some(name) = self.name(&key) else {
            self.entries.push((key, value));
            return None;
        };
        match self.names.get(&name) {
            Some(at) if self.is_merged(*at) => self.entries[*at] = (key, value),
            Some(at) => {
                return Some(duplicate_key(path, &key, self.entries[*at].0.span.start));
            }
            None => {
                self.names.insert(name, self.entries.len());
                self.entries.push((key, value));
            }
        }
        None
    }

    /// Puts the entries of `source` (a mapping, or a list of them) behind those already there.
    fn merge(&mut self, path: &str, source: &Node) -> Option<Finding> {
        let from = source.alias.unwrap_or(source.span);
        match &source.value {
            Value::Mapping(merged) => {
                for (key, value) in merged {
                    let Some(name) = self.name(key) else { continue };
                    if !self.names.contains_key(&name) {
                        self.names.insert(name, self.entries.len());
                        let mut key = key.clone();
                        key.alias = Some(from);
                        self.entries.push((key, value.clone()));
                    }
                }
                None
            }
            Value::Sequence(sources) => {
                sources.iter().filter_map(|source| self.merge(path, source)).last()
            }
            Value::Scalar(_) if source.is_null() => None,
            Value::Scalar(_) => Some(
                Finding::error("yaml-merge", "`<<` takes a mapping", Place::at(path, from))
                    .help("name an anchored mapping: `<<: *name`"),
            ),
        }
    }

    fn is_merged(&self, at: usize) -> bool {
        self.options.merge_keys && self.entries[at].0.alias.is_some()
    }

    /// What makes a key the same as another; `None` if nothing does.
    fn name(&self, key: &Node) -> Option<String> {
        let text = key.as_str()?;
        match self.options.duplicate_keys {
            DuplicateKeys::Refuse => Some(text.to_owned()),
            // An expression as key stands for as many keys as its value has.
            DuplicateKeys::RefuseIgnoringCase => {
                (!text.contains("${{")).then(|| text.to_uppercase())
            }
            DuplicateKeys::Keep => None,
        }
    }
}

/// The parser's words for a fault in ours, with what usually mends it.
fn explained(info: &str) -> (String, Option<&'static str>) {
    let help = |text| Some(text);
    let (message, help) = match info {
        _ if info.contains("tab") => {
            ("a tab is used as indentation", help("indent with spaces; YAML allows no tabs there"))
        }
        "mapping values are not allowed in this context" => (
            "`:` begins a value here, where no key can stand",
            help("check the indentation, or put the text in quotes if the `:` belongs to it"),
        ),
        "simple key expected" | "simple key expect ':'" => {
            ("a key has no `:` behind it", help("write `key: value`; check the indentation"))
        }
        "while parsing a block mapping, did not find expected key" => (
            "this line does not belong to the mapping above it",
            help("give all keys of a mapping the same indentation"),
        ),
        "while parsing a block collection, did not find expected '-' indicator" => (
            "this line does not belong to the list above it",
            help("begin every item with `- ` at the same indentation"),
        ),
        "block sequence entries are not allowed in this context" => {
            ("a list item cannot stand here", help("put the list on the lines below its key"))
        }
        "while parsing a flow mapping, did not find expected ',' or '}'" => {
            ("`{` is not closed", help("write `,` between entries and `}` at the end"))
        }
        "while parsing a flow sequence, expected ',' or ']'" => {
            ("`[` is not closed", help("write `,` between items and `]` at the end"))
        }
        "while scanning a quoted scalar, found unexpected end of stream" => {
            ("a quoted text is not closed", help("add the closing quote"))
        }
        "while parsing a quoted scalar, found unknown escape character" => (
            "this escape does not exist",
            help("write `\\\\` for a backslash, or use single quotes, which know no escapes"),
        ),
        "while parsing node, found unknown anchor" => (
            "no anchor of this name stands above",
            help("define it with `&name` before using `*name`"),
        ),
        "invalid trailing content after double-quoted scalar" => (
            "text follows a closing quote",
            help("put the whole value in quotes, and write inner quotes as `\\\"`"),
        ),
        "unexpected end of plain scalar" | "found unprintable character" => {
            ("a character that YAML does not allow stands here", help("put the text in quotes"))
        }
        "comments must be separated from other tokens by whitespace" => {
            ("a comment begins without a blank before its `#`", help("put a blank before the `#`"))
        }
        "recursion limit exceeded" => ("brackets are nested too deep", None),
        other => return (format!("the YAML is not well formed: {other}"), None),
    };
    (message.to_owned(), help)
}
