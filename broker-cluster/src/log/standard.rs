//! Zeek's standard logs: which stream a path belongs to and what types its columns have.
//!
//! JSON logs do not say what their columns are: `"id.orig_p":80` may be a port or a count, and
//! `"ts":1575413096.05` a time or a double. For the logs Zeek itself writes the answer is known; the
//! table below holds the column names and types that the scripts of Zeek 9.1-dev log, those of its
//! optional scripts included, and columns of earlier releases that are gone (`tx_hosts` of files.log,
//! `cert_chain_fuids` of ssl.log).

use std::collections::HashMap;

use super::schema::ColumnType;

/// One of Zeek's standard logs.
#[derive(Debug)]
pub(super) struct StandardLog {
    /// The log's path.
    pub(super) path: &'static str,
    /// The id of its stream.
    pub(super) stream: &'static str,
    columns: &'static str,
}

impl StandardLog {
    /// The types of its columns by name.
    pub(super) fn types(&self) -> HashMap<&'static str, ColumnType> {
        types(self.columns)
    }
}

/// The standard log with this path.
pub(super) fn by_path(path: &str) -> Option<&'static StandardLog> {
    STANDARD_LOGS.iter().find(|log| log.path == path)
}

/// The standard log that has all these columns, if they are enough to tell; of several the one
/// with the fewest others.
pub(super) fn by_columns<'a>(
    names: impl Iterator<Item = &'a str> + Clone,
) -> Option<&'static StandardLog> {
    if names.clone().count() < TELLING_COLUMNS {
        return None;
    }
    let fitting = STANDARD_LOGS.iter().filter_map(|log| {
        let types = log.types();
        names
            .clone()
            .all(|name| types.contains_key(name))
            .then_some((types.len(), log))
    });
    fitting
        .min_by_key(|(columns, _)| *columns)
        .map(|(_, log)| log)
}

/// Types of the columns that mean the same in every log.
pub(super) fn common_types() -> HashMap<&'static str, ColumnType> {
    types("ts:time uid:string $id _path:string _system_name:string _write_ts:time")
}

fn types(columns: &'static str) -> HashMap<&'static str, ColumnType> {
    let fields = columns.split_ascii_whitespace();
    let fields =
        fields.flat_map(|field| if field == "$id" { ID } else { field }.split_ascii_whitespace());
    let pairs = fields.filter_map(|field| field.split_once(':'));
    pairs
        .filter_map(|(name, word)| Some((name, ColumnType::parse(word)?)))
        .collect()
}

const fn log(path: &'static str, stream: &'static str, columns: &'static str) -> StandardLog {
    StandardLog {
        path,
        stream,
        columns,
    }
}

/// Fewer columns than this are shared by too many logs to tell one.
const TELLING_COLUMNS: usize = 6;

/// What `$id` stands for in the table: the four addresses and ports, and the VLAN fields.
const ID: &str = "id.orig_h:addr id.orig_p:port id.resp_h:addr id.resp_p:port \
    id.ctx.vlan:int id.ctx.inner_vlan:int";

#[rustfmt::skip]
const STANDARD_LOGS: &[StandardLog] = &[
    log(
        "analyzer",
        "Analyzer::Logging::LOG",
        "ts:time analyzer_kind:string analyzer_name:string uid:string fuid:string $id proto:enum \
         failure_reason:string failure_data:string packet_segment:string",
    ),
    log(
        "analyzer_debug",
        "Analyzer::DebugLogging::LOG",
        "ts:time cause:string analyzer_kind:string analyzer_name:string uid:string fuid:string $id \
         failure_reason:string failure_data:string",
    ),
    log("broker", "Broker::LOG", "ts:time ty:enum ev:string peer.address:string peer.bound_port:port message:string"),
    log(
        "capture_loss",
        "CaptureLoss::LOG",
        "ts:time ts_delta:interval peer:string gaps:count acks:count percent_lost:double",
    ),
    log("cluster", "Cluster::LOG", "ts:time node:string message:string"),
    log("config", "Config::LOG", "ts:time id:string old_value:string new_value:string location:string"),
    log(
        "conn",
        "Conn::LOG",
        "ts:time uid:string $id proto:enum service:string duration:interval orig_bytes:count resp_bytes:count \
         conn_state:string local_orig:bool local_resp:bool missed_bytes:count history:string orig_pkts:count \
         orig_ip_bytes:count resp_pkts:count resp_ip_bytes:count tunnel_parents:set[string] ip_proto:count \
         community_id:string failed_service:set[string] ip_proto_name:string orig_l2_addr:string \
         resp_l2_addr:string pppoe_session_id:count speculative_service:string vlan:int inner_vlan:int",
    ),
    log(
        "dce_rpc",
        "DCE_RPC::LOG",
        "ts:time uid:string $id rtt:interval named_pipe:string endpoint:string operation:string",
    ),
    log(
        "dhcp",
        "DHCP::LOG",
        "ts:time uids:set[string] client_addr:addr server_addr:addr mac:string host_name:string \
         client_fqdn:string domain:string requested_addr:addr assigned_addr:addr lease_time:interval \
         client_message:string server_message:string msg_types:vector[string] duration:interval \
         msg_orig:vector[addr] client_software:string server_software:string circuit_id:string \
         agent_remote_id:string subscriber_id:string uid:string id.orig_h:addr id.orig_p:port id.resp_h:addr \
         id.resp_p:port assigned_ip:addr trans_id:count",
    ),
    log("dnp3", "DNP3::LOG", "ts:time uid:string $id fc_request:string fc_reply:string iin:count"),
    log(
        "dns",
        "DNS::LOG",
        "ts:time uid:string $id proto:enum trans_id:count rtt:interval query:string qclass:count \
         qclass_name:string qtype:count qtype_name:string rcode:count rcode_name:string AA:bool TC:bool \
         RD:bool RA:bool Z:count answers:vector[string] TTLs:vector[interval] rejected:bool opcode:count \
         opcode_name:string auth:set[string] addl:set[string] original_query:string",
    ),
    log(
        "dpd",
        "DPD::LOG",
        "ts:time uid:string $id proto:enum analyzer:string failure_reason:string packet_segment:string",
    ),
    log(
        "files",
        "Files::LOG",
        "ts:time fuid:string uid:string $id source:string depth:count analyzers:set[string] mime_type:string \
         filename:string duration:interval local_orig:bool is_orig:bool seen_bytes:count total_bytes:count \
         missing_bytes:count overflow_bytes:count timedout:bool parent_fuid:string extracted:string \
         extracted_cutoff:bool extracted_size:count md5:string sha1:string sha256:string entropy:double \
         tx_hosts:set[addr] rx_hosts:set[addr] conn_uids:set[string]",
    ),
    log(
        "ftp",
        "FTP::LOG",
        "ts:time uid:string $id user:string password:string command:string arg:string mime_type:string \
         file_size:count reply_code:count reply_msg:string data_channel.passive:bool data_channel.orig_h:addr \
         data_channel.resp_h:addr data_channel.resp_p:port fuid:string",
    ),
    log(
        "http",
        "HTTP::LOG",
        "ts:time uid:string $id trans_depth:count method:string host:string uri:string referrer:string \
         version:string user_agent:string origin:string request_body_len:count response_body_len:count \
         status_code:count status_msg:string info_code:count info_msg:string tags:set[enum] username:string \
         password:string proxied:set[string] orig_fuids:vector[string] orig_filenames:vector[string] \
         orig_mime_types:vector[string] resp_fuids:vector[string] resp_filenames:vector[string] \
         resp_mime_types:vector[string] client_header_names:vector[string] server_header_names:vector[string] \
         cookie_vars:vector[string] uri_vars:vector[string] filename:string",
    ),
    log(
        "intel",
        "Intel::LOG",
        "ts:time uid:string $id seen.indicator:string seen.indicator_type:enum seen.where:enum \
         seen.node:string matched:set[enum] sources:set[string] fuid:string file_mime_type:string \
         file_desc:string cif.tags:string cif.confidence:double cif.source:string cif.description:string \
         cif.firstseen:string cif.lastseen:string",
    ),
    log(
        "irc",
        "IRC::LOG",
        "ts:time uid:string $id nick:string user:string command:string value:string addl:string \
         dcc_file_name:string dcc_file_size:count dcc_mime_type:string fuid:string",
    ),
    log(
        "kerberos",
        "KRB::LOG",
        "ts:time uid:string $id request_type:string client:string service:string success:bool \
         error_msg:string from:time till:time cipher:string forwardable:bool renewable:bool \
         client_cert_subject:string client_cert_fuid:string server_cert_subject:string \
         server_cert_fuid:string auth_ticket:string new_ticket:string auth_ticket_sha256:string \
         new_ticket_sha256:string",
    ),
    log(
        "known_certs",
        "Known::CERTS_LOG",
        "ts:time host:addr port_num:port subject:string issuer_subject:string serial:string",
    ),
    log("known_devices", "Known::DEVICES_LOG", "ts:time mac:string dhcp_host_name:string"),
    log("known_hosts", "Known::HOSTS_LOG", "ts:time host:addr"),
    log("known_modbus", "Known::MODBUS_LOG", "ts:time host:addr device_type:enum"),
    log(
        "known_services",
        "Known::SERVICES_LOG",
        "ts:time host:addr port_num:port port_proto:enum service:set[string]",
    ),
    log(
        "ldap",
        "LDAP::LDAP_LOG",
        "ts:time uid:string $id message_id:int version:int opcode:string result:string \
         diagnostic_message:string object:string argument:string",
    ),
    log(
        "ldap_search",
        "LDAP::LDAP_SEARCH_LOG",
        "ts:time uid:string $id message_id:int scope:string deref_aliases:string base_object:string \
         result_count:count result:string diagnostic_message:string filter:string attributes:vector[string]",
    ),
    log("loaded_scripts", "LoadedScripts::LOG", "name:string"),
    log(
        "modbus",
        "Modbus::LOG",
        "ts:time uid:string $id tid:count unit:count func:string pdu_type:string exception:string \
         track_address:count",
    ),
    log(
        "modbus_register_change",
        "Modbus::REGISTER_CHANGE_LOG",
        "ts:time uid:string $id register:count old_val:count new_val:count delta:interval",
    ),
    log(
        "mqtt_connect",
        "MQTT::CONNECT_LOG",
        "ts:time uid:string $id proto_name:string proto_version:string client_id:string connect_status:string \
         will_topic:string will_payload:string",
    ),
    log(
        "mqtt_publish",
        "MQTT::PUBLISH_LOG",
        "ts:time uid:string $id from_client:bool retain:bool qos:string status:string topic:string \
         payload:string payload_len:count",
    ),
    log(
        "mqtt_subscribe",
        "MQTT::SUBSCRIBE_LOG",
        "ts:time uid:string $id action:enum topics:vector[string] qos_levels:vector[count] \
         granted_qos_level:count ack:bool",
    ),
    log(
        "multicast_participants",
        "Conn::MULTICAST_PARTICIPANTS_LOG",
        "ts:time cid:string orig_h:addr group_addr:addr group_p:port participants:set[addr]",
    ),
    log(
        "mysql",
        "mysql::LOG",
        "ts:time uid:string $id cmd:string arg:string success:bool rows:count response:string",
    ),
    log(
        "netcontrol",
        "NetControl::LOG",
        "ts:time rule_id:string category:enum cmd:string state:enum action:string target:enum \
         entity_type:string entity:string mod:string msg:string priority:int expire:interval location:string \
         plugin:string",
    ),
    log(
        "netcontrol_catch_release",
        "NetControl::CATCH_RELEASE",
        "ts:time rule_id:string ip:addr action:enum block_interval:interval watch_interval:interval \
         blocked_until:time watched_until:time num_blocked:count location:string message:string plugin:string",
    ),
    log(
        "netcontrol_drop",
        "NetControl::DROP_LOG",
        "ts:time rule_id:string orig_h:addr orig_p:port resp_h:addr resp_p:port expire:interval \
         location:string",
    ),
    log(
        "netcontrol_shunt",
        "NetControl::SHUNT",
        "ts:time rule_id:string f.src_h:addr f.src_p:port f.dst_h:addr f.dst_p:port expire:interval \
         location:string",
    ),
    log(
        "notice",
        "Notice::LOG",
        "ts:time uid:string $id fuid:string file_mime_type:string file_desc:string proto:enum note:enum \
         msg:string sub:string src:addr dst:addr p:port n:count peer_descr:string actions:set[enum] \
         email_dest:set[string] suppress_for:interval remote_location.country_code:string \
         remote_location.region:string remote_location.city:string remote_location.latitude:double \
         remote_location.longitude:double dropped:bool community_id:string",
    ),
    log(
        "notice_alarm",
        "Notice::ALARM_LOG",
        "ts:time uid:string $id fuid:string file_mime_type:string file_desc:string proto:enum note:enum \
         msg:string sub:string src:addr dst:addr p:port n:count peer_descr:string actions:set[enum] \
         email_dest:set[string] suppress_for:interval remote_location.country_code:string \
         remote_location.region:string remote_location.city:string remote_location.latitude:double \
         remote_location.longitude:double dropped:bool community_id:string",
    ),
    log(
        "ntlm",
        "NTLM::LOG",
        "ts:time uid:string $id username:string hostname:string domainname:string \
         server_nb_computer_name:string server_dns_computer_name:string server_tree_name:string success:bool \
         status:string",
    ),
    log(
        "ntp",
        "NTP::LOG",
        "ts:time uid:string $id version:count mode:count stratum:count poll:interval precision:interval \
         root_delay:interval root_disp:interval ref_id:string ref_time:time org_time:time rec_time:time \
         xmt_time:time num_exts:count",
    ),
    log(
        "ntp_control",
        "NTP::CONTROL_LOG",
        "ts:time uid:string $id version:count mode:count op_code:count sequence:count status:count \
         association_id:count resp_bit:bool err_bit:bool more_bit:bool data:string key_id:count \
         crypto_checksum:string",
    ),
    log(
        "ntp_private",
        "NTP::PRIVATE_LOG",
        "ts:time uid:string $id version:count mode:count req_code:count sequence:count implementation:count \
         auth_bit:bool err:count data:string",
    ),
    log(
        "ocsp",
        "OCSP::LOG",
        "ts:time id:string hashAlgorithm:string issuerNameHash:string issuerKeyHash:string \
         serialNumber:string certStatus:string revoketime:time revokereason:string thisUpdate:time \
         nextUpdate:time",
    ),
    log(
        "openflow",
        "OpenFlow::LOG",
        "ts:time dpid:count match.in_port:count match.dl_src:string match.dl_dst:string match.dl_vlan:count \
         match.dl_vlan_pcp:count match.dl_type:count match.nw_tos:count match.nw_proto:count \
         match.nw_src:subnet match.nw_dst:subnet match.tp_src:count match.tp_dst:count flow_mod.cookie:count \
         flow_mod.table_id:count flow_mod.command:enum flow_mod.idle_timeout:count \
         flow_mod.hard_timeout:count flow_mod.priority:count flow_mod.out_port:count flow_mod.out_group:count \
         flow_mod.flags:count flow_mod.actions.out_ports:vector[count] flow_mod.actions.vlan_vid:count \
         flow_mod.actions.vlan_pcp:count flow_mod.actions.vlan_strip:bool flow_mod.actions.dl_src:string \
         flow_mod.actions.dl_dst:string flow_mod.actions.nw_tos:count flow_mod.actions.nw_src:addr \
         flow_mod.actions.nw_dst:addr flow_mod.actions.tp_src:count flow_mod.actions.tp_dst:count",
    ),
    log(
        "packet_filter",
        "PacketFilter::LOG",
        "ts:time node:string filter:string init:bool success:bool failure_reason:string",
    ),
    log(
        "pe",
        "PE::LOG",
        "ts:time id:string machine:string compile_ts:time os:string subsystem:string is_exe:bool \
         is_64bit:bool uses_aslr:bool uses_dep:bool uses_code_integrity:bool uses_seh:bool \
         has_import_table:bool has_export_table:bool has_cert_table:bool has_debug_data:bool \
         section_names:vector[string]",
    ),
    log(
        "postgresql",
        "PostgreSQL::LOG",
        "ts:time uid:string $id user:string database:string application_name:string frontend:string \
         frontend_arg:string backend:string backend_arg:string success:bool rows:count",
    ),
    log(
        "quic",
        "QUIC::LOG",
        "ts:time uid:string $id version:string client_initial_dcid:string client_scid:string \
         server_scid:string server_name:string client_protocol:string history:string",
    ),
    log(
        "radius",
        "RADIUS::LOG",
        "ts:time uid:string $id username:string mac:string framed_addr:addr tunnel_client:string \
         connect_info:string reply_msg:string result:string ttl:interval",
    ),
    log(
        "rdp",
        "RDP::LOG",
        "ts:time uid:string $id cookie:string result:string security_protocol:string \
         client_channels:vector[string] keyboard_layout:string client_build:string client_name:string \
         client_dig_product_id:string desktop_width:count desktop_height:count requested_color_depth:string \
         cert_type:string cert_count:count cert_permanent:bool encryption_level:string \
         encryption_method:string ssl:bool",
    ),
    log(
        "redis",
        "Redis::LOG",
        "ts:time uid:string $id cmd.name:string cmd.key:string cmd.value:string success:bool \
         reply.value:string",
    ),
    log("reporter", "Reporter::LOG", "ts:time level:enum message:string location:string"),
    log(
        "rfb",
        "RFB::LOG",
        "ts:time uid:string $id client_major_version:string client_minor_version:string \
         server_major_version:string server_minor_version:string authentication_method:string auth:bool \
         share_flag:bool desktop_name:string width:count height:count",
    ),
    log(
        "signatures",
        "Signatures::LOG",
        "ts:time uid:string src_addr:addr src_port:port dst_addr:addr dst_port:port note:enum sig_id:string \
         event_msg:string sub_msg:string sig_count:count host_count:count",
    ),
    log(
        "sip",
        "SIP::LOG",
        "ts:time uid:string $id trans_depth:count method:string uri:string date:string request_from:string \
         request_to:string response_from:string response_to:string reply_to:string call_id:string seq:string \
         subject:string request_path:vector[string] response_path:vector[string] user_agent:string \
         status_code:count status_msg:string warning:string request_body_len:count response_body_len:count \
         content_type:string",
    ),
    log(
        "smb_cmd",
        "SMB::CMD_LOG",
        "ts:time uid:string $id command:string sub_command:string argument:string status:string rtt:interval \
         version:string username:string tree:string tree_service:string referenced_file.ts:time \
         referenced_file.uid:string referenced_file.id.orig_h:addr referenced_file.id.orig_p:port \
         referenced_file.id.resp_h:addr referenced_file.id.resp_p:port referenced_file.id.ctx.vlan:int \
         referenced_file.id.ctx.inner_vlan:int referenced_file.fuid:string referenced_file.action:enum \
         referenced_file.path:string referenced_file.name:string referenced_file.size:count \
         referenced_file.prev_name:string referenced_file.times.modified:time \
         referenced_file.times.accessed:time referenced_file.times.created:time \
         referenced_file.times.changed:time",
    ),
    log(
        "smb_files",
        "SMB::FILES_LOG",
        "ts:time uid:string $id fuid:string action:enum path:string name:string size:count prev_name:string \
         times.modified:time times.accessed:time times.created:time times.changed:time",
    ),
    log(
        "smb_mapping",
        "SMB::MAPPING_LOG",
        "ts:time uid:string $id path:string service:string native_file_system:string share_type:string",
    ),
    log(
        "smtp",
        "SMTP::LOG",
        "ts:time uid:string $id trans_depth:count helo:string mailfrom:string rcptto:set[string] date:string \
         from:string to:set[string] cc:set[string] reply_to:string msg_id:string in_reply_to:string \
         subject:string x_originating_ip:addr first_received:string second_received:string last_reply:string \
         path:vector[addr] user_agent:string tls:bool fuids:vector[string] is_webmail:bool",
    ),
    log(
        "snmp",
        "SNMP::LOG",
        "ts:time uid:string $id duration:interval version:string community:string get_requests:count \
         get_bulk_requests:count get_responses:count set_requests:count display_string:string up_since:time",
    ),
    log(
        "socks",
        "SOCKS::LOG",
        "ts:time uid:string $id version:count user:string password:string status:string request.host:addr \
         request.name:string request_p:port bound.host:addr bound.name:string bound_p:port",
    ),
    log(
        "software",
        "Software::LOG",
        "ts:time host:addr host_p:port software_type:enum name:string version.major:count version.minor:count \
         version.minor2:count version.minor3:count version.addl:string unparsed_version:string url:string",
    ),
    log(
        "ssh",
        "SSH::LOG",
        "ts:time uid:string $id version:count auth_success:bool auth_attempts:count direction:enum \
         client:string server:string cipher_alg:string mac_alg:string compression_alg:string kex_alg:string \
         host_key_alg:string host_key_fingerprint:string remote_location.country_code:string \
         remote_location.region:string remote_location.city:string remote_location.latitude:double \
         remote_location.longitude:double host_key:string status:string resp_size:count",
    ),
    log(
        "ssl",
        "SSL::LOG",
        "ts:time uid:string $id version:string cipher:string curve:string server_name:string resumed:bool \
         last_alert:string next_protocol:string established:bool ssl_history:string \
         cert_chain_fps:vector[string] client_cert_chain_fps:vector[string] subject:string issuer:string \
         client_subject:string client_issuer:string sni_matches_cert:bool \
         requested_client_certificate_authorities:vector[string] server_version:count client_version:count \
         client_ciphers:vector[count] ssl_client_exts:vector[count] ssl_server_exts:vector[count] \
         ticket_lifetime_hint:count dh_param_size:count point_formats:vector[count] \
         client_curves:vector[count] orig_alpn:vector[string] client_supported_versions:vector[count] \
         server_supported_version:count psk_key_exchange_modes:vector[count] \
         client_key_share_groups:vector[count] server_key_share_group:count client_comp_methods:vector[count] \
         sigalgs:vector[count] hashalgs:vector[count] ech_kdf_id:count ech_aead_id:count \
         validation_status:string ocsp_status:string valid_ct_logs:count valid_ct_operators:count \
         session_id:string cert_chain_fuids:vector[string] client_cert_chain_fuids:vector[string] \
         issuer_subject:string not_valid_before:time not_valid_after:time client_issuer_subject:string \
         cert_hash:string",
    ),
    log(
        "stats",
        "Stats::LOG",
        "ts:time peer:string mem:count pkts_proc:count bytes_recv:count pkts_dropped:count pkts_link:count \
         pkt_lag:interval pkts_filtered:count events_proc:count events_queued:count active_tcp_conns:count \
         active_udp_conns:count active_icmp_conns:count tcp_conns:count udp_conns:count icmp_conns:count \
         timers:count active_timers:count files:count active_files:count dns_requests:count \
         active_dns_requests:count reassem_tcp_size:count reassem_file_size:count reassem_frag_size:count \
         reassem_unknown_size:count pkts_recv:count",
    ),
    log("syslog", "Syslog::LOG", "ts:time uid:string $id proto:enum facility:string severity:string message:string"),
    log(
        "telemetry",
        "Telemetry::LOG",
        "ts:time peer:string metric_type:string name:string labels:vector[string] label_values:vector[string] \
         value:double",
    ),
    log(
        "telemetry_histogram",
        "Telemetry::LOG_HISTOGRAM",
        "ts:time peer:string name:string labels:vector[string] label_values:vector[string] \
         bounds:vector[double] values:vector[double] sum:double observations:double",
    ),
    log("traceroute", "Traceroute::LOG", "ts:time src:addr dst:addr proto:string"),
    log("tunnel", "Tunnel::LOG", "ts:time uid:string $id tunnel_type:enum action:enum"),
    log(
        "unknown_protocols",
        "UnknownProtocol::LOG",
        "ts:time analyzer:string protocol_id:string first_bytes:string analyzer_history:vector[string]",
    ),
    log(
        "websocket",
        "WebSocket::LOG",
        "ts:time uid:string $id host:string uri:string user_agent:string subprotocol:string \
         client_protocols:vector[string] server_extensions:vector[string] client_extensions:vector[string]",
    ),
    log(
        "weird",
        "Weird::LOG",
        "ts:time uid:string $id name:string addl:string notice:bool peer:string source:string",
    ),
    log("weird_stats", "WeirdStats::LOG", "ts:time name:string num_seen:count"),
    log(
        "x509",
        "X509::LOG",
        "ts:time fingerprint:string certificate.version:count certificate.serial:string \
         certificate.subject:string certificate.issuer:string certificate.not_valid_before:time \
         certificate.not_valid_after:time certificate.key_alg:string certificate.sig_alg:string \
         certificate.key_type:string certificate.key_length:count certificate.exponent:string \
         certificate.curve:string san.dns:vector[string] san.uri:vector[string] san.email:vector[string] \
         san.ip:vector[addr] basic_constraints.ca:bool basic_constraints.path_len:count host_cert:bool \
         client_cert:bool cert:string id:string",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_of_the_table_is_well_formed() {
        for log in STANDARD_LOGS {
            let words = log.columns.split_ascii_whitespace();
            let expected: usize = words.map(|word| if word == "$id" { 6 } else { 1 }).sum();
            assert_eq!(log.types().len(), expected, "{}", log.path);
            assert!(log.stream.contains("::"), "{}", log.path);
        }
        let paths: Vec<_> = STANDARD_LOGS.iter().map(|log| log.path).collect();
        assert!(paths.is_sorted_by(|a, b| a < b));
    }

    #[test]
    fn a_log_is_known_by_its_columns() {
        let dns = [
            "ts",
            "uid",
            "id.orig_h",
            "trans_id",
            "query",
            "rcode",
            "TTLs",
        ];
        assert_eq!(by_columns(dns.into_iter()).unwrap().path, "dns");
        assert!(by_columns(["ts", "uid"].into_iter()).is_none());
        assert!(
            by_columns(["ts", "uid", "id.orig_h", "id.orig_p", "query", "mine"].into_iter())
                .is_none()
        );
    }

    #[test]
    fn columns_of_old_and_new_releases_have_types() {
        let word = |path, column| by_path(path).unwrap().types()[column].to_string();
        assert_eq!(word("files", "tx_hosts"), "set[addr]");
        assert_eq!(word("dns", "TTLs"), "vector[interval]");
        assert_eq!(word("conn", "id.resp_p"), "port");
        assert_eq!(word("x509", "san.ip"), "vector[addr]");
        assert_eq!(common_types()["ts"].to_string(), "time");
    }
}
