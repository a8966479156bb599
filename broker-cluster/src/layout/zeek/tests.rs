//! Layouts of Zeek's read, and every mistake as its one line.

use proptest::prelude::*;

use super::super::{LayoutSource, dial_url};
use super::*;
use crate::pools::PoolSpec;

/// What zeekctl of Zeek 9 generates for two hosts, with a WebSocket server.
const GENERATED: &str = r#"# Automatically generated. Do not edit.
redef Cluster::manager_is_logger = F;
redef Cluster::nodes = {
	["control"] = [$node_type=Cluster::CONTROL, $ip=192.0.2.1, $p=27760/tcp],
	["manager"] = [$node_type=Cluster::MANAGER, $ip=192.0.2.1, $p=27761/tcp, $metrics_port=9991/tcp],
	["logger-1"] = [$node_type=Cluster::LOGGER, $ip=192.0.2.1, $p=27762/tcp, $metrics_port=9992/tcp],
	["proxy-1"] = [$node_type=Cluster::PROXY, $ip=192.0.2.1, $p=27763/tcp, $manager="manager", $metrics_port=9993/tcp],
	["worker-1-1"] = [$node_type=Cluster::WORKER, $ip=[2001:db8::2], $p=27764/tcp, $manager="manager", $metrics_port=9994/tcp],
	["worker-1-2"] = [$node_type=Cluster::WORKER, $ip=[2001:db8::2], $p=27765/tcp, $manager="manager", $metrics_port=9995/tcp],
};

event zeek_init()
	{
	if ( getenv("ZEEKCTL_DISABLE_LISTEN") == "" && (Cluster::local_node_type() == Cluster::MANAGER || ! Cluster::is_enabled()) )
		{
		Cluster::listen_websocket([$listen_addr=127.0.0.1, $listen_port=27759/tcp]);
		}
	}
"#;

const NODE_CFG: &str = "\
# The same as an input of zeekctl's.
[logger-1]
type=logger
host=192.0.2.1

[manager]
type: manager
Host = 192.0.2.1

[proxy-1]
type=proxy
host=192.0.2.1
; a comment
[worker-1]
type=worker
host=2001:db8::2
interface=eth0
lb_method=pf_ring
lb_procs=2
pin_cpus=3
";

fn script(text: &str) -> Result<Layout, LayoutError> {
    Layout::from_cluster_layout_zeek(text, "etc/cluster-layout.zeek", &ZeekOptions::new())
}

fn cfg(text: &str) -> Result<Layout, LayoutError> {
    Layout::from_node_cfg(text, "etc/node.cfg", &ZeekOptions::new())
}

fn urls(urls: &[PeerUrl]) -> Vec<String> {
    urls.iter().map(ToString::to_string).collect()
}

/// Name, role, where it listens, what others dial.
fn listing(layout: &Layout) -> Vec<(String, Role, Vec<String>, Vec<String>)> {
    let nodes = layout.nodes();
    nodes
        .map(|node| {
            let (listen, dialled) = (urls(&node.listen), urls(node.dialable()));
            (node.name.clone(), node.role, listen, dialled)
        })
        .collect()
}

fn one_line(error: &LayoutError) -> String {
    let line = error.to_string();
    assert_eq!(line.lines().count(), 1, "{line}");
    line
}

fn in_manager(rest: &str) -> String {
    format!(
        "redef Cluster::nodes = {{\n[\"manager\"] = [$node_type=Cluster::MANAGER, $ip=127.0.0.1, $p=1/tcp]{rest}"
    )
}

#[test]
fn metrics_are_served_at_the_port_that_zeek_has_for_them() {
    let metrics = |layout: &Layout, name: &str| {
        let spec = layout.node(name).expect("a node");
        spec.metrics.as_ref().map(ToString::to_string)
    };
    let layout = script(GENERATED).expect("a layout");
    assert_eq!(
        metrics(&layout, "proxy-1"),
        Some("127.0.0.1:9993".to_owned())
    );
    let with_port = |port: &str| {
        script(&in_manager(&format!(
            ",\n[\"w\"] = [$node_type=Cluster::WORKER, $ip=127.0.0.1, $metrics_port={port}]}};"
        )))
    };
    let none = with_port("0/unknown").expect("a layout");
    assert_eq!(metrics(&none, "w"), None);
    let options = ZeekOptions::new().with(
        "[node.manager]\nmetrics = \"192.0.2.1:1\"\n[node.proxy-1]\nqueue_messages = 5\n",
        "etc/more.toml",
    );
    let more = Layout::from_cluster_layout_zeek(GENERATED, "etc/cluster-layout.zeek", &options);
    let more = more.expect("a layout");
    assert_eq!(metrics(&more, "manager"), Some("192.0.2.1:1".to_owned()));
    assert_eq!(metrics(&more, "proxy-1"), Some("127.0.0.1:9993".to_owned()));
    let error = with_port("9991/udp").expect_err("no such port");
    assert!(one_line(&error).contains("9991/udp"), "{error}");
}

#[test]
fn ports_for_metrics_are_dealt_out_from_the_one_in_zeekctl_cfg_on() {
    const BROKER: &str = "ClusterBackend = Broker\n";
    let read = |nodes: &str, zeekctl: &str| {
        let text = format!("{BROKER}{zeekctl}");
        let options = ZeekOptions::new().zeekctl_cfg(&text, Path::new("etc/zeekctl.cfg"))?;
        Layout::from_node_cfg(nodes, "etc/node.cfg", &options)
    };
    let metrics = |nodes: &str, zeekctl: &str| -> Vec<Option<String>> {
        let layout = read(nodes, zeekctl).expect("a layout");
        let nodes = layout.nodes();
        nodes
            .map(|node| node.metrics.as_ref().map(ToString::to_string))
            .collect()
    };
    // As the layout that zeekctl generates from the two has it.
    let generated = script(GENERATED).expect("a layout");
    let of_zeek: Vec<_> = generated
        .nodes()
        .map(|node| node.metrics.as_ref().map(ToString::to_string))
        .collect();
    assert_eq!(metrics(NODE_CFG, "MetricsPort = 9991\n"), of_zeek);
    for silent in ["", "metricsport=0\n", "MetricsAddress = 127.0.0.1\n"] {
        assert_eq!(
            metrics(NODE_CFG, silent),
            vec![None; of_zeek.len()],
            "{silent}"
        );
    }
    let standalone = "[zeek]\ntype=standalone\nhost=localhost\n";
    for (address, at) in [
        ("192.0.2.7", "192.0.2.7:9000"),
        ("::1", "[::1]:9000"),
        ("", "127.0.0.1:9000"),
    ] {
        let zeekctl = format!("MetricsAddress = {address}\nMetricsPort = 9000\n");
        assert_eq!(metrics(standalone, &zeekctl), [Some(at.to_owned())]);
    }
    for (zeekctl, says) in [
        (
            "MetricsPort = high\n",
            "etc/zeekctl.cfg:2: MetricsPort is \"high\"",
        ),
        ("MetricsPort = 65536\n", "or 0 for no metrics"),
        (
            "MetricsAddress = a b\n",
            "etc/zeekctl.cfg:2: MetricsAddress is",
        ),
        ("MetricsPort = 65534\n", "choose a smaller MetricsPort"),
    ] {
        let error = one_line(&read(NODE_CFG, zeekctl).expect_err(zeekctl));
        assert!(error.contains(says), "{error}");
    }
}

#[test]
fn what_zeekctl_generates_is_read_and_everybody_listens_as_zeek_does() {
    let layout = script(GENERATED).expect("a layout");
    let node = |name: &str, role, any: &str, host: &str, port: u16| {
        (
            name.to_owned(),
            role,
            vec![format!("brokers://{any}:{port}")],
            vec![format!("brokers://{host}:{port}")],
        )
    };
    let (first, second) = ("192.0.2.1", "[2001:db8::2]");
    let expected = [
        node("logger-1", Role::Logger, "0.0.0.0", first, 27762),
        node("manager", Role::Manager, "0.0.0.0", first, 27761),
        node("proxy-1", Role::Proxy, "0.0.0.0", first, 27763),
        node("worker-1-1", Role::Worker, "[::]", second, 27764),
        node("worker-1-2", Role::Worker, "[::]", second, 27765),
    ];
    assert_eq!(listing(&layout), expected);
    assert!(!layout.manager_is_logger());
    assert_eq!(layout.name(), "cluster-layout");
    assert_eq!(layout.log_dir(), Path::new("logs"));
    assert_eq!(
        layout.notices(),
        ["etc/cluster-layout.zeek:12: passing over event zeek_init"]
    );
    let worker = layout.require("worker-1-1").expect("there");
    assert_eq!(worker.host.as_deref(), Some("2001:db8::2"));
    let dialled: Vec<_> = layout
        .dial_urls(worker, &["brokers"])
        .map(ToString::to_string)
        .collect();
    assert_eq!(
        dialled,
        [
            "brokers://192.0.2.1:27762",
            "brokers://192.0.2.1:27763",
            "brokers://192.0.2.1:27761"
        ]
    );
}

#[test]
fn a_node_cfg_makes_the_layout_that_zeekctl_generates_from_it() {
    let (from_cfg, generated) = (cfg(NODE_CFG).expect("one"), script(GENERATED).expect("two"));
    assert_eq!(listing(&from_cfg), listing(&generated));
    assert_eq!(from_cfg.manager_is_logger(), generated.manager_is_logger());
    assert!(from_cfg.notices().is_empty(), "{:?}", from_cfg.notices());
    let pinned = |name| from_cfg.require(name).expect("there").pin_cpu;
    assert_eq!(
        [
            pinned("manager"),
            pinned("worker-1-1"),
            pinned("worker-1-2")
        ],
        [None, Some(3), Some(3)]
    );
}

#[test]
fn ports_follow_the_order_of_types_and_within_one_that_of_the_file() {
    let text = "[w-b]\ntype=worker\nhost=localhost\n[p]\ntype=proxy\nhost=localhost\n[w-a]\ntype=worker\nhost=localhost\n[m]\ntype=manager\nhost=localhost\n";
    let options = ZeekOptions::new().first_port(47760);
    let layout = Layout::from_node_cfg(text, "node.cfg", &options).expect("a layout");
    let port = |name| layout.require(name).expect("there").advertise[0].port();
    assert_eq!(
        ["m", "p", "w-b", "w-a"].map(port),
        [Some(47761), Some(47762), Some(47763), Some(47764)]
    );
    assert!(layout.manager_is_logger() && layout.writes_logs(layout.manager()));
}

#[test]
fn a_standalone_node_is_a_manager_alone_at_the_first_port() {
    let layout = cfg("[zeek]\ntype=standalone\nhost=localhost\ninterface=eth0\n").expect("one");
    let manager = layout.manager();
    assert_eq!(manager.name, "zeek");
    assert_eq!(urls(&manager.advertise), ["brokers://localhost:27760"]);
    assert!(layout.writes_logs(manager));
}

#[test]
fn environment_and_processors_come_from_the_section_the_default_one_and_zeekctl_cfg() {
    let zeekctl = "# zeekctl\nZeekPort = 4000\nclusterbackend = Broker\nenv_vars = A=1, B=2\nLogDir = /logs\n";
    let options = ZeekOptions::new()
        .zeekctl_cfg(zeekctl, Path::new("zeekctl.cfg"))
        .expect("options");
    let text = "[DEFAULT]\nhost=192.0.2.9\n[m]\ntype=manager\n[p]\ntype=proxy\nenv_vars=B=\"x y\"\n[w]\ntype=worker\nhost=192.0.2.8\nlb_procs=3\nlb_method=interfaces\nlb_interfaces=a,b,c\npin_cpus=1,2\nmade.up=1\n";
    let layout = Layout::from_node_cfg(text, "node.cfg", &options).expect("a layout");
    let env = |name| layout.require(name).expect("there").env.to_vec();
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(env("m"), [pair("A", "1"), pair("B", "2")]);
    assert_eq!(env("p"), [pair("B", "x y"), pair("A", "1")]);
    let workers: Vec<_> = layout
        .with_role(Role::Worker)
        .map(|node| (node.name.as_str(), node.pin_cpu, node.host.as_deref()))
        .collect();
    let host = Some("192.0.2.8");
    assert_eq!(
        workers,
        [
            ("w-1", Some(1), host),
            ("w-2", Some(2), host),
            ("w-3", Some(1), host)
        ]
    );
    assert_eq!(layout.manager().advertise[0].port(), Some(4001));
    assert_eq!(layout.notices().len(), 1);
    assert!(
        layout.notices()[0].contains("\"made_up\" of \"w\""),
        "{:?}",
        layout.notices()
    );
}

#[test]
fn what_the_script_says_beside_the_nodes_is_heeded_or_passed_over() {
    let text = r#"
        @load base/frameworks/cluster
        module Lab;
        redef Cluster::nodes += { # more of them
            ["manager"] = Cluster::Node($node_type=MANAGER, $ip=fe80::1, # a comment, with = and }
                $zone_id="eth0", $p=5000/tcp, $colour=vector(1, [2, 3])),
            ["w"] = [$node_type=Cluster::WORKER, $ip = [::1] , $p=0/unknown, $interface="em0", $manager="manager"],
            ["tm"] = [$node_type=Cluster::TIME_MACHINE, $ip=127.0.0.1, $p=47757/tcp]
        };
        redef Broker::disable_ssl = T;
        redef Broker::default_listen_address = "127.0.0.1";
        redef Cluster::retry_interval = 2sec;
        redef digest_salt = "do ; not \" end here";
    "#;
    let layout = script(text).expect("a layout");
    assert!(layout.manager_is_logger());
    let (manager, worker) = (layout.manager(), layout.require("w").expect("there"));
    assert_eq!(urls(&manager.listen), ["broker://127.0.0.1:5000"]);
    assert_eq!(
        dial_url(manager, &["broker"]).expect("dialled").host(),
        "fe80::1%eth0"
    );
    assert_eq!((worker.listen.len(), worker.dialable().len()), (0, 0));
    let passed: Vec<_> = layout
        .notices()
        .iter()
        .filter_map(|notice| notice.split_once("passing over ").map(|(_, what)| what))
        .collect();
    assert_eq!(
        passed,
        [
            "@load",
            "$colour of \"manager\"",
            "node \"tm\" of type TIME_MACHINE",
            "redef Cluster::retry_interval",
            "redef digest_salt"
        ]
    );
    let options = ZeekOptions::new().tls(true).listen_address("192.0.2.5");
    let layout = Layout::from_cluster_layout_zeek(text, "x.zeek", &options).expect("a layout");
    assert_eq!(urls(&layout.manager().listen), ["brokers://192.0.2.5:5000"]);
}

#[test]
fn a_manager_may_be_one_of_several_loggers() {
    let layout = script(&in_manager(
        ", [\"logger-1\"] = [$node_type=Cluster::LOGGER, $ip=127.0.0.1, $p=2/tcp]};",
    ))
    .expect("a layout");
    assert!(layout.manager_is_logger() && layout.writes_logs(layout.manager()));
    let pools = layout.pools("manager");
    let loggers = pools
        .iter()
        .find(|pool| pool.spec().name == PoolSpec::LOGGER);
    let names: Vec<_> = loggers
        .expect("there")
        .nodes()
        .iter()
        .map(|node| node.name.clone())
        .collect();
    assert_eq!(names, ["logger-1", "manager"]);
}

#[test]
fn a_text_beside_it_says_what_a_layout_of_zeeks_cannot() {
    let with = r#"
        [cluster]
        name = "lab"
        log_dir = "out"
        [zeek]
        tls = false
        listen_address = "192.0.2.1"
        [stores.hosts]
        backend = "memory"
        [node.logger-1]
        listen = ["grpc://127.0.0.1:0"]
        queue_policy = "block"
        [tls]
        cafile = "ca.pem"
    "#;
    let options = ZeekOptions::new().with(with, "etc/logger.toml");
    let layout =
        Layout::from_cluster_layout_zeek(GENERATED, "cluster-layout.zeek", &options).expect("one");
    assert_eq!(
        (layout.name(), layout.log_dir()),
        ("lab", Path::new("etc/out"))
    );
    assert_eq!(layout.stores().len(), 1);
    let logger = layout.require("logger-1").expect("there");
    assert_eq!(
        urls(&logger.listen),
        ["broker://192.0.2.1:27762", "grpc://127.0.0.1:0"]
    );
    assert_eq!(urls(&logger.advertise), ["broker://192.0.2.1:27762"]);
    assert_eq!(
        layout.manager().tls.cafile.as_deref(),
        Some(Path::new("etc/ca.pem"))
    );
    for (with, expected) in [
        (
            "[node.logger-9]\nweight = 1\n",
            "x.toml:1: there is no node called \"logger-9\"; use one of logger-1, manager",
        ),
        (
            "[node.manager]\nrole = \"proxy\"\n",
            "x.toml:2: unknown key \"role\"",
        ),
        (
            "[zeek]\nlisten_address = \"here\"\n",
            "x.toml:2: \"listen_address\" in [zeek] is \"here\"",
        ),
        (
            "[zeek]\nfirst_port = 70000\n",
            "x.toml:1: \"first_port\" in [zeek] is 70000",
        ),
        (
            "[cluster]\nlogdir = \"x\"\n",
            "x.toml:2: unknown key \"logdir\" in [cluster]; did you mean \"log_dir\"?",
        ),
    ] {
        let options = ZeekOptions::new().with(with, "x.toml");
        let error =
            Layout::from_cluster_layout_zeek(GENERATED, "c.zeek", &options).expect_err(with);
        assert!(one_line(&error).starts_with(expected), "{error}");
    }
}

#[test]
fn a_mistake_in_a_script_is_named_with_line_and_column() {
    for (text, expected) in [
        ("", "etc/cluster-layout.zeek: there are no nodes in it"),
        (
            "redef Cluster::nodes = {\n  [\"manager\"] = [$node_type=Cluster::BOSS, $ip=127.0.0.1]};",
            ":2:29: \"Cluster::BOSS\" is no type of nodes",
        ),
        (
            "redef Cluster::nodes = {\n  [\"manager\"] = [$ip=127.0.0.1]};",
            ":2:4: node \"manager\" has no $node_type; add $node_type",
        ),
        (
            "redef Cluster::nodes = { [\"manager\"] = [$node_type=Cluster::MANAGER]};",
            ":1:27: node \"manager\" has no $ip",
        ),
        (&in_manager("\n"), ": expected , or }, found the end"),
        (&in_manager("}"), ": expected ;, found the end"),
        (
            &in_manager(", [\"manager\"] = [$node_type=Cluster::LOGGER, $ip=127.0.0.1]};"),
            ": \"manager\" is there a second time",
        ),
        (
            &in_manager(", [\"x\"] = [$node_type=Cluster::MANAGER, $ip=127.0.0.1, $p=2/tcp]};"),
            ":2: node \"x\" is a second manager beside node \"manager\"; exactly one",
        ),
        (
            &in_manager(", [\"x\"] = [$node_type=Cluster::LOGGER, $ip=127.0.0.1]};"),
            ":2: node \"x\" listens nowhere, but node \"manager\" has to dial it; add $p=PORT/tcp",
        ),
        (
            &in_manager(", [\"x\"] = [$node_type=Cluster::LOGGER, $ip=127.0.0.1, $p=1/tcp]};"),
            ":2: node \"x\" listens on brokers://0.0.0.0:1, as node \"manager\" does",
        ),
        (
            &in_manager(", [\"x\"] = [$node_type=Cluster::LOGGER, $ip=0.0.0.0, $p=2/tcp]};"),
            ":2: nobody can dial brokers://0.0.0.0:2 of node \"x\"",
        ),
        (
            &in_manager(
                ", [\"x\"] = [$node_type=Cluster::WORKER, $ip=127.0.0.1, $manager=\"y\"]};",
            ),
            ":2: the manager of node \"x\" is \"y\"",
        ),
        (
            &in_manager(", [\"../x\"] = [$node_type=Cluster::WORKER, $ip=127.0.0.1]};"),
            ": \"../x\" cannot be the name of a node",
        ),
        (
            "redef Cluster::nodes = { [\"x\"] = [$node_type=Cluster::WORKER, $ip=127.0.0.1]};",
            ": there is no node with role \"manager\"; exactly one node has $node_type",
        ),
        (
            "redef Cluster::nodes = { [\"m\"] = [$ip=127.0.0.300]};",
            ":1:39: \"127.0.0.300\" is no address",
        ),
        (
            "redef Cluster::nodes = { [\"m\"] = [$ip=[::1};",
            ":1:39: [ has no end",
        ),
        (
            "redef Cluster::nodes = { [\"m\"] = [$p=80/udp]};",
            ":1:38: \"80/udp\" is no port",
        ),
        (
            "redef Cluster::nodes = { [\"m\"] = [$p=80000/tcp]};",
            ": \"80000/tcp\" is no port",
        ),
        (
            "redef Cluster::nodes = { [\"m\"] = [$p=1/tcp, $p=2/tcp]};",
            ":1:45: \"$p\" is there a second time",
        ),
        (
            "redef Cluster::nodes = { [\"m\"] = [p=1/tcp]};",
            ":1:35: expected $FIELD=VALUE, found \"p\"",
        ),
        (
            "redef Cluster::nodes = { [\"m] = [\n};",
            ":1:27: the text in quotes has no end",
        ),
        (
            "redef Cluster::manager_is_logger = yes;",
            ":1:36: expected T or F, found \"yes\"",
        ),
        (
            "redef Broker::default_listen_address = \"here\";",
            ": \"here\" is no address",
        ),
        (
            "@if ( T )\n@endif",
            ":1:1: \"@if\" cannot be carried out here",
        ),
        (
            "const x = 1;",
            ":1:1: expected redef NAME = VALUE;, found \"const\"",
        ),
        ("redef x = (1;", ":1:9: a bracket has no end"),
        (
            "redef x = (1];",
            ":1:13: expected brackets in pairs, found ']'",
        ),
        ("event f() { ", ":1:11: the statement has no end"),
        (
            &format!("redef x = {}", "(".repeat(100)),
            ": brackets are nested too deep",
        ),
    ] {
        let error = script(text).map(|layout| listing(&layout)).expect_err(text);
        let line = one_line(&error);
        assert!(
            line.contains(expected),
            "{text}\n{line}\nwithout\n{expected}"
        );
    }
}

#[test]
fn a_mistake_in_a_node_cfg_is_named_with_its_line() {
    let with = |rest: &str| {
        format!("[m]\ntype=manager\nhost=192.0.2.1\n[p]\ntype=proxy\nhost=192.0.2.1\n{rest}")
    };
    for (text, expected) in [
        ("", "etc/node.cfg: there are no nodes in it"),
        (
            "type=manager",
            ":1: expected [NAME] of a node, found \"type=manager\"",
        ),
        (
            "[m]\nnonsense",
            ":2: expected KEY=VALUE or [NAME], found \"nonsense\"",
        ),
        ("[m\n", ":1: the name of the section has no end"),
        ("[m]\n[m]\n", ":2: \"[m]\" is there a second time"),
        (
            "[m]\ntype=manager\nTYPE=proxy\n",
            ":3: \"type\" is there a second time",
        ),
        ("[m]\nhost=localhost\n", ":1: node \"m\" has no type"),
        ("[m]\ntype=manager\n", ":1: node \"m\" has no host"),
        (
            "[m]\ntype=boss\nhost=x\n",
            ":2: \"boss\" is no type of nodes",
        ),
        ("[m]\ntype=manager\nhost=a b\n", ":3: \"a b\" is no address"),
        (
            "[m]\ntype=manager\nhost=%(x)s\n",
            ":3: expected a value without %(..)",
        ),
        (
            "[m]\ntype=manager\nhost=x\n",
            "there is no node with type=proxy; add one",
        ),
        (
            "[p]\ntype=proxy\nhost=x\n",
            "there is no node with role \"manager\"; exactly one node has type=manager",
        ),
        (
            &with("[n]\ntype=manager\nhost=x\n"),
            ":7: node \"n\" is a second manager beside node \"m\"",
        ),
        (
            &with("[s]\ntype=standalone\nhost=x\n"),
            ":7: \"s\" is standalone, and there are others",
        ),
        (
            &with("[M]\ntype=worker\nhost=x\n"),
            ":7: node \"M\" is there as \"m\" already",
        ),
        (
            &with(
                "[a]\ntype=worker\nhost=x\nlb_procs=2\nlb_method=custom\n[a-2]\ntype=worker\nhost=x\n",
            ),
            "node \"a-2\" is there as \"a-2\" already",
        ),
        (
            &with("[w]\ntype=worker\nhost=x\nlb_procs=0\nlb_method=custom\n"),
            ":10: lb_procs is \"0\"; write a number of 1 or more",
        ),
        (
            &with("[w]\ntype=worker\nhost=x\nlb_procs=2\n"),
            ":7: node \"w\" has no lb_method",
        ),
        (
            &with("[w]\ntype=worker\nhost=x\nlb_method=custom\n"),
            ":7: node \"w\" has no lb_procs",
        ),
        (
            &with("[w]\ntype=worker\nhost=x\nlb_procs=2\nlb_method=luck\n"),
            ":11: lb_method is \"luck\"",
        ),
        (
            &with("[w]\ntype=worker\nhost=x\nlb_procs=2\nlb_method=interfaces\nlb_interfaces=a\n"),
            "as many interfaces as lb_procs says",
        ),
        (
            &with("[w]\ntype=proxy\nhost=x\nlb_procs=2\nlb_method=custom\n"),
            ":10: lb_procs is \"2\"; write it for workers only",
        ),
        (
            &with("[w]\ntype=worker\nhost=x\nlb_procs=5000\nlb_method=custom\n"),
            ":7: there are more than 4096 nodes",
        ),
        (
            &with("[w]\ntype=worker\nhost=x\npin_cpus=a\n"),
            ":10: pin_cpus is \"a\"",
        ),
        (
            &with("[w]\ntype=worker\nhost=x\nenv_vars=A\n"),
            ":10: env_vars is \"A\"; write NAME=VALUE",
        ),
        (
            "[m]\ntype=manager\nhost=localhost\n[p]\ntype=proxy\nhost=x\n",
            ":4: node \"p\" is at \"x\", and the manager at localhost",
        ),
    ] {
        let error = cfg(text).map(|layout| listing(&layout)).expect_err(text);
        let line = one_line(&error);
        assert!(
            line.contains(expected),
            "{text}\n{line}\nwithout\n{expected}"
        );
    }
    let high = ZeekOptions::new().first_port(65535);
    let error = Layout::from_node_cfg(NODE_CFG, "node.cfg", &high).expect_err("too high");
    assert!(one_line(&error).contains("not enough ports from 65535 on"));
}

#[test]
fn a_zeekctl_cfg_that_wants_another_backend_is_refused_and_one_that_is_silent_is_told() {
    let read = |text| ZeekOptions::new().zeekctl_cfg(text, Path::new("etc/zeekctl.cfg"));
    for (text, expected) in [
        (
            "ClusterBackend = ZeroMQ\n",
            "etc/zeekctl.cfg:1: its nodes speak ZeroMQ, not Broker; set ClusterBackend = Broker",
        ),
        (
            "\nnonsense\n",
            "etc/zeekctl.cfg:2: expected NAME = VALUE, found \"nonsense\"",
        ),
        (
            "ZeekPort = high\n",
            "etc/zeekctl.cfg:1: ZeekPort is \"high\"; write a number",
        ),
        ("env_vars = x\n", "etc/zeekctl.cfg:1: env_vars is \"x\""),
    ] {
        let error = read(text).expect_err(text);
        assert!(one_line(&error).starts_with(expected), "{error}");
    }
    let options = read("ZeekPort = 1\n").expect("options");
    let layout = Layout::from_node_cfg(NODE_CFG, "node.cfg", &options).expect("a layout");
    assert!(
        layout.notices()[0].contains("no ClusterBackend"),
        "{:?}",
        layout.notices()
    );
}

#[test]
fn a_file_is_read_in_the_format_that_it_has_and_with_what_is_beside_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let write = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).expect("written");
        path
    };
    let cfg = write("node.cfg", NODE_CFG);
    write("zeekctl.cfg", "ZeekPort = 4000\nClusterBackend = Broker\n");
    let generated = write("cluster-layout.zeek", GENERATED);
    let with = write("with.toml", "[cluster]\nname = \"lab\"\n");
    let toml = write("lab.toml", "[node.m]\nrole = \"manager\"\n");

    let layout = Layout::load(&cfg).expect("a layout");
    assert_eq!(layout.manager().advertise[0].port(), Some(4001));
    let layout = LayoutSource::new(&generated)
        .with(&with)
        .load()
        .expect("a layout");
    assert_eq!((layout.name(), layout.file()), ("lab", generated.as_path()));
    assert_eq!(layout.format(), LayoutFormat::Zeek);
    assert_eq!(Layout::load(&toml).expect("a layout").manager().name, "m");
    let error = LayoutSource::new(&toml)
        .with(&with)
        .load()
        .expect_err("refused");
    assert!(
        one_line(&error).contains("with.toml: only a layout of Zeek's"),
        "{error}"
    );
    let error = LayoutSource::new(&cfg)
        .format(LayoutFormat::Zeek)
        .load()
        .expect_err("refused");
    assert!(
        one_line(&error).contains("node.cfg:2:1: expected redef"),
        "{error}"
    );
}

#[test]
fn notices_are_bounded() {
    let many = "redef x = 1;\n".repeat(1000) + GENERATED;
    let layout = script(&many).expect("a layout");
    assert_eq!(layout.notices().len(), MAX_NOTICES + 1);
    assert_eq!(layout.notices()[MAX_NOTICES], "and 969 more");
}

/// Texts near the two languages: pieces of both in any order.
fn pieces() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        prop::sample::select(vec![
            "redef ",
            "Cluster::nodes",
            " = ",
            "{",
            "}",
            "[",
            "]",
            "(",
            ")",
            "\"m\"",
            "\"",
            "$",
            "ip",
            "node_type",
            "Cluster::MANAGER",
            "127.0.0.1",
            "[::1]",
            "80/tcp",
            ",",
            ";",
            "#",
            "\n",
            "\\",
            "@load",
            "event f()",
            "[m]\n",
            "type=manager\n",
            "host=localhost\n",
            "lb_procs=3\n",
            "=",
            ":",
            "[DEFAULT]\n",
            " x\n",
            "é",
            "\u{0}",
            "%(",
        ])
        .prop_map(str::to_owned),
        "[ -~]{0,6}",
    ];
    prop::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn any_text_is_a_layout_or_an_error_of_one_line(text in pieces()) {
        for read in [script(&text), cfg(&text)] {
            if let Err(error) = read {
                prop_assert!(one_line(&error).len() < 4096);
            }
        }
        let _ = ZeekOptions::new().zeekctl_cfg(&text, Path::new("zeekctl.cfg")).map_err(|error| one_line(&error));
    }

    #[test]
    fn a_script_cut_or_changed_anywhere_is_a_layout_or_an_error_of_one_line(
        cut in 0..GENERATED.len(),
        with in "[ -~\n]{0,3}",
    ) {
        for text in [format!("{}{with}", &GENERATED[..cut]), format!("{}{with}{}", &GENERATED[..cut], &GENERATED[cut..])] {
            if let Err(error) = script(&text) {
                one_line(&error);
            }
        }
    }
}

#[test]
fn logs_are_rotated_each_hour_as_zeek_s_loggers_do_unless_the_layout_says_otherwise() {
    let hour = Some(std::time::Duration::from_secs(3600));
    let interval = |with: Option<&str>| {
        let mut options = ZeekOptions::new();
        if let Some(with) = with {
            options = options.with(with, "x.toml");
        }
        let layout = Layout::from_cluster_layout_zeek(GENERATED, "cluster-layout.zeek", &options);
        layout.expect("one").logging().rotation.rule.interval
    };
    assert_eq!(interval(None), hour);
    assert_eq!(interval(Some("[logging]\ngzip_level = 1\n")), hour);
    assert_eq!(interval(Some("[logging]\nrotation_interval = 0\n")), None);
    assert_eq!(
        interval(Some("[logging]\nrotation_size = \"1 GB\"\n")),
        None
    );
}
